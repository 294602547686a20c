# %% [markdown]
# # A tour in ten minutes
#
# Train a small network on handwritten digits, and draw digits with it by several samplers. What you
# see below ran while this page was built.
#
# The same without Python, with a larger network and better digits, in under five minutes on two
# cores:
#
# ```sh
# edmjax train --config configs/digits.yaml --out runs/digits
# edmjax sample --checkpoint runs/digits --sampler dpmpp_2m --num-steps 10 --out samples
# ```

# %% [markdown]
# ## A denoiser
#
# `network.load` trains a U-Net with the EDM loss and reads it back: `training.train(config,
# dataset)`, then `training.load_trained(directory)`. What comes back is a denoiser,
# `denoise(x, sigma, label) -> E[x0 | x]`. Images have values from -1 to 1.

# %%
import jax
import jax.numpy as jnp
import network

import edmjax as ej

example = network.load()
ej.plot.samples(example.images[:40], columns=10).figure

# %% [markdown]
# Noise one image at four levels, and look at what the denoiser makes of it. At low noise it returns
# the image, at high noise the mean of the images of its class.

# %%
levels = jnp.asarray([0.1, 0.5, 2.0, 20.0])
key = jax.random.key(0)
image = jnp.repeat(example.images[3:4], 4, axis=0)
noisy = image + levels[:, None, None, None] * jax.random.normal(key, image.shape)
denoised = example.denoise(noisy, levels, jnp.full(4, example.labels[3]))
ej.plot.samples(jnp.concatenate([noisy, denoised]), columns=4).figure

# %% [markdown]
# ## A schedule
#
# says which noise levels to visit. Here are 18 levels of three schedules. The last level of each
# is 0, which a logarithmic axis has no place for.

# %%
schedules = {
    "karras": ej.schedules.karras(18),
    "exponential": ej.schedules.exponential(18),
    "logistic": ej.schedules.logistic(18, sigma_data=example.sigma_data),
}
ej.plot.sigmas(schedules).figure

# %% [markdown]
# ## A sampler, and a plan
#
# A sampler is one step of a method; `make_plan` reads it over a grid and keeps the weights. Heun's
# method needs two evaluations a step, and one in the last.

# %%
plan = ej.make_plan(ej.samplers.heun(), schedules["karras"])
assert plan.nfe == 35
ej.plot.plan(ej.make_plan(ej.samplers.heun(), ej.schedules.karras(5))).figure

# %% [markdown]
# ## Samples
#
# Start from noise of the first level. One `lax.scan` runs the plan, with one copy of the network.

# %%
noise = jax.random.normal(jax.random.key(1), (40, *example.images.shape[1:]))
labels = jnp.arange(40) % 10
x0 = ej.sample(example.denoise, plan, 80.0 * noise, cond=labels)
ej.plot.samples(x0, columns=10).figure

# %% [markdown]
# The denoised image along the way, for three of them:

# %%
ej.plot.preview(example.denoise, plan, 80.0 * noise[:3], cond=labels[:3]).figure

# %% [markdown]
# ## Fewer evaluations
#
# `recommend` runs the network from a few noises, and returns the sampler and the grid that did best
# at a number of evaluations. From the same noise they should give the same digits with 8
# evaluations as Heun's method with 35, nearly.

# %%
sampler, sigmas = ej.recommend(8, denoise=example.denoise, x=80.0 * noise, cond=labels)
few = ej.make_plan(sampler, sigmas)
fast = ej.sample(example.denoise, few, sigmas[0] * noise, cond=labels)
difference = jnp.sqrt(jnp.mean((fast - x0) ** 2))
print(f"{few.nfe} evaluations: {difference:.2f} from those with {plan.nfe}")
ej.plot.samples(fast, columns=10).figure

# %% [markdown]
# ## Fresh noise
#
# `churn` adds noise in every step, around any sampler. It needs a key, and sample `i` depends on
# the key and on `i` alone: the batch of 40 and a batch of its last ten have the same last ten, up
# to rounding.

# %%
churn = ej.samplers.churn(ej.samplers.euler(), s_churn=20.0)
churned = ej.make_plan(churn, ej.schedules.karras(40))
keys = ej.sample_keys(jax.random.key(2), 40)
whole = ej.sample(example.denoise, churned, 80.0 * noise, keys, cond=labels)
part = ej.sample(example.denoise, churned, 80.0 * noise[30:], keys[30:], cond=labels[30:])
assert jnp.abs(whole[30:] - part).max() < 0.05
ej.plot.samples(whole, columns=10).figure

# %% [markdown]
# From here: [choosing a sampler](../choosing.md), [the mathematics](../mathematics.md), and
# [your own sampler](../your_own.md) in ten lines.
