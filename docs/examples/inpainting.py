# %% [markdown]
# # Inpainting by replacement
#
# Half of an image is known. Between the steps the known pixels are replaced by the image with
# noise of the level (Song et al. 2021, Appendix I.2). That is a corrector: a function that runs on
# the point that starts a step.

# %%
import jax
import jax.numpy as jnp
import network

import edmjax as ej

example = network.load()
images = jnp.repeat(example.images[:5], 2, axis=0)  # each twice, for two answers
labels = jnp.repeat(jnp.asarray(example.labels[:5]), 2)
height = images.shape[1]
known = (jnp.arange(height) < height // 2)[:, None, None]  # the upper half


def replace(denoise, x, sigma, key):
    return jnp.where(known, images + sigma * ej.normal_like(key, x), x)


# %% [markdown]
# A corrector needs a sampler with one evaluation a step and no history. Fresh noise in each step,
# which `ancestral` adds, lets the unknown half adapt to the known one.

# %%
sigmas = ej.schedules.karras(60)
plan = ej.make_plan(ej.samplers.ancestral(ej.samplers.euler()), sigmas)
key_start, key = jax.random.split(jax.random.key(0))
x = sigmas[0] * jax.random.normal(key_start, images.shape)
x0 = ej.sample(example.denoise, plan, x, key, cond=labels, corrector=replace)
masked = jnp.where(known, images, 0.0)
ej.plot.samples(jnp.concatenate([images, masked, x0]), columns=10).figure

# %% [markdown]
# Above: the images, what is known of them, and two answers to each. The known half came back up to
# the error of the denoiser at the lowest level, and the other half differs between the answers.

# %%
error = jnp.sqrt(jnp.mean(jnp.where(known, x0 - images, 0.0) ** 2))
apart = jnp.sqrt(jnp.mean((x0[0::2] - x0[1::2])[:, height // 2 :] ** 2))
print(f"error of the known pixels {error:.3f}, difference between two answers {apart:.2f}")
assert error < 0.1 < apart
