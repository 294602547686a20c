# %% [markdown]
# # Inversion
#
# The probability flow can be followed upwards, from an image to the noise that it would be made
# of: a code. Decoded with the same label it is the image again, with another label another digit
# in the same handwriting, more or less.

# %%
import jax
import jax.numpy as jnp
import network

import edmjax as ej
from edmjax import likelihood

example = network.load()
images, labels = example.images[:10], jnp.asarray(example.labels[:10])
low, high = 0.02, 80.0

# %% [markdown]
# The flow starts at `sigma_min`, where an image has that much noise: without it, what never varies,
# such as the black around a digit, would have no noise in the code either.
#
# `reversible` retraces its own steps, so the way back is exact up to rounding, at any number of
# steps.

# %%
noisy = images + low * jax.random.normal(jax.random.key(0), images.shape)
solver = likelihood.reversible(40)
code = likelihood.encode(
    example.denoise, noisy, solver=solver, cond=labels, sigma_min=low, sigma_max=high
)
assert isinstance(code, likelihood.Pair)  # a reversible solver keeps two points
back = likelihood.decode(
    example.denoise, code, solver=solver, cond=labels, sigma_min=low, sigma_max=high
)
error = jnp.abs(back - noisy).max()
print(f"largest difference after the round trip: {error:.1e}")
assert error < 1e-2

# %% [markdown]
# The code is noise of deviation 80, nearly. From the point of the pair a plan decodes it as well,
# here with the next label and guidance towards it.

# %%
print(f"deviation of the code: {code.x.std():.1f}")
assert 60 < code.x.std() < 100
plan = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(40))
guided = ej.guidance.classifier_free(example.denoise, 3.0, uncond=example.unknown)
others = ej.sample(guided, plan, code.x, cond=(labels + 1) % 10)
ej.plot.samples(jnp.concatenate([images, back, others]), columns=10).figure

# %% [markdown]
# Rows: the images, the round trip, the code with the next label.
