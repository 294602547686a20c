# %% [markdown]
# # Pictures
#
# `edmjax.plot` draws what people would rather look at than read. Each function draws into `ax`, or
# into a figure of its own, and returns the Axes. Nothing is shown and pyplot is not touched.

# %%
import jax
from matplotlib.figure import Figure

import edmjax as ej

problem = ej.problems.P1()  # 25 modes in the plane, with an exact denoiser
x = 80.0 * jax.random.normal(jax.random.key(0), (200, 2))

# %% [markdown]
# The ways of points from noise to data. A point at level sigma is drawn at `x / sqrt(1 +
# (sigma / sigma_data)^2)`, so that noise and data are about as wide. Without noise the ways are
# smooth, with fresh noise in each step they are not.

# %%
figure = Figure(figsize=(10, 5), layout="constrained")
left, right = figure.subplots(1, 2)
heun = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(40))
noisy = ej.make_plan(ej.samplers.ancestral(ej.samplers.euler()), ej.schedules.karras(40))
ej.plot.trajectories(problem, heun, x, ax=left).set_title("Heun")
ej.plot.trajectories(problem, noisy, x, jax.random.key(1), ax=right).set_title("ancestral Euler")
figure

# %% [markdown]
# A plan as a matrix. Row by row, what each point is made of: the points before it (`x`), the
# denoised outputs (`D`), the noise (`z`). Multistep methods reach further back.

# %%
figure = Figure(figsize=(10, 4), layout="constrained")
left, right = figure.subplots(1, 2)
ej.plot.plan(ej.make_plan(ej.samplers.dpmpp_2m(), ej.schedules.karras(8)), ax=left)
ej.plot.plan(ej.make_plan(ej.samplers.unipc(), ej.schedules.karras(8)), ax=right)
left.set_title("DPM-Solver++(2M)")
right.set_title("UniPC")
figure

# %% [markdown]
# Error against evaluations, measured here on the same problem, from 200 starts.

# %%
reference = ej.sample(problem, ej.make_plan(ej.samplers.unipc(), ej.schedules.logistic(400)), x)


def error(sampler, schedule, n):
    plan = ej.make_plan(sampler, schedule(n))
    return plan.nfe, float(abs(ej.sample(problem, plan, x) - reference).mean())


runs = {
    "heun, karras": [error(ej.samplers.heun(), ej.schedules.karras, n) for n in (5, 10, 20, 40)],
    "dpmpp_2m, karras": [
        error(ej.samplers.dpmpp_2m(), ej.schedules.karras, n) for n in (9, 19, 39, 79)
    ],
    "unipc, logistic": [
        error(ej.samplers.unipc(), ej.schedules.logistic, n) for n in (9, 19, 39, 79)
    ],
}
assert min(runs["unipc, logistic"])[1] < min(runs["heun, karras"])[1]
ej.plot.work_precision(runs).figure

# %% [markdown]
# [The tour](tour.py) has noise levels, samples and the denoised preview.
