# %% [markdown]
# # Likelihood
#
# The flow gives an image a density, and with its cells counted, a number of bits. Noise in a cell
# (`dequantize`) makes counts continuous; the trace of the Jacobian is estimated with a few probes.
# [Likelihood and codes](../likelihood.md) has the rest.

# %%
import math

import jax
import jax.numpy as jnp
import network

import edmjax as ej
from edmjax import likelihood

example = network.load()
images, labels = example.images[:16], jnp.asarray(example.labels[:16])
key = jax.random.key(0)

# %% [markdown]
# A fixed grid, upwards from 0.02, a sixth of the distance between two greys and less. The number
# of evaluations is known before.

# %%
sigmas = ej.schedules.reverse(ej.schedules.theta(24, sigma_min=0.02))
plan = ej.make_plan(ej.samplers.heun(), sigmas)
dim = math.prod(images.shape[1:])


def bits(x, labels):
    spread = likelihood.dequantize(x, key, step=example.step)
    log_p = likelihood.log_likelihood(
        example.denoise, spread, plan=plan, cond=labels, trace="hutchinson", num_probes=4, key=key
    )
    return likelihood.bits_per_dim(log_p, dim=dim, step=example.step)


of_images = bits(images, labels)
uniform = math.log2(2 / example.step + 1)  # of greys that are equally likely
print(f"bits a pixel: {of_images.mean():.2f} of {uniform:.2f}")
assert of_images.mean() < uniform

# %% [markdown]
# Images upside down are rarer, and so they cost more bits.

# %%
flipped = bits(images[:, ::-1, :, :], labels)
print(f"upside down: {flipped.mean():.2f}")
assert flipped.mean() > of_images.mean()
