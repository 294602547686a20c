# %% [markdown]
# # Image to image
#
# Start from an image with noise of a middle level in place of pure noise (SDEdit, Meng et al.
# 2022). The level decides how much of the image is kept. Here the label changes as well, with
# [guidance](guidance.py) towards it: each digit is to be redrawn as the next one.

# %%
import jax
import jax.numpy as jnp
import network

import edmjax as ej

example = network.load()
images = example.images[:10]
noise = jax.random.normal(jax.random.key(0), images.shape)
labels = (jnp.asarray(example.labels[:10]) + 1) % 10
guided = ej.guidance.classifier_free(example.denoise, 3.0, uncond=example.unknown)
sigmas = ej.schedules.karras(40)

# %% [markdown]
# `truncate(sigmas, strength)` keeps the last steps of a grid. The rows are the images, and then
# strengths from 0.3 to 0.9.

# %%
rows, distances = [images], []
for strength in (0.3, 0.5, 0.7, 0.9):
    levels = ej.schedules.truncate(sigmas, strength)
    plan = ej.make_plan(ej.samplers.dpmpp_2m(), levels)
    x0 = ej.sample(guided, plan, images + levels[0] * noise, cond=labels)
    rows.append(x0)
    distances.append(float(jnp.sqrt(jnp.mean((x0 - images) ** 2))))
    print(
        f"strength {strength}: from sigma {levels[0]:.2f}, {plan.nfe} evaluations, "
        f"{distances[-1]:.2f} from the images"
    )
ej.plot.samples(jnp.concatenate(rows), columns=10).figure

# %% [markdown]
# The more noise, the further from the image.

# %%
assert distances == sorted(distances)
