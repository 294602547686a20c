# %% [markdown]
# # Guidance
#
# The network was told the label of an image, and in a tenth of the steps no label. Going on from
# the answer without a label past the answer with it draws clearer, less varied images of the class
# (Ho and Salimans 2022). [Guidance](../guidance.md) says what there is.

# %%
import jax
import jax.numpy as jnp
import network

import edmjax as ej

example = network.load()
labels = jnp.arange(40) % 10
sigmas = ej.schedules.karras(18)
plan = ej.make_plan(ej.samplers.heun(), sigmas)
x = sigmas[0] * jax.random.normal(jax.random.key(0), (40, *example.images.shape[1:]))

# %% [markdown]
# Guidance takes a denoiser and returns a denoiser, so any sampler runs it. Scale 1 is the network
# itself. All of them start from the same noise.

# %%
spread, pictures = {}, []
for scale in (1.0, 2.0, 4.0):
    guided = ej.guidance.classifier_free(example.denoise, scale, uncond=example.unknown)
    x0 = ej.sample(ej.guidance.clip(guided, -1.0, 1.0), plan, x, cond=labels)
    by_class = x0.reshape(4, 10, -1)
    spread[scale] = float(by_class.std(axis=0).mean())
    if scale != 2.0:
        pictures.append(x0)
    print(f"scale {scale}: spread within a class {spread[scale]:.3f}")
ej.plot.samples(jnp.concatenate(pictures), columns=10).figure

# %% [markdown]
# The first four rows are scale 1, the last four scale 4. The spread falls with the scale.

# %%
assert spread[4.0] < spread[1.0]
