# %% [markdown]
# # Pictures
#
# `edmjax.plot` draws what people would rather look at than read. Each function draws into `ax`, or
# into a figure of its own, and returns the Axes. Nothing is shown and pyplot is not touched.

# %%
import jax

import edmjax as ej

problem = ej.problems.P1()  # 25 modes in the plane, with an exact denoiser
x = 80.0 * jax.random.normal(jax.random.key(0), (200, 2))

# %% [markdown]
# The paths of points from noise to data. A point at level sigma is drawn at `x / sqrt(1 +
# (sigma / sigma_data)^2)`, so that noise and data are about as wide. Without noise the paths are
# smooth:

# %%
heun = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(40))
ej.plot.trajectories(problem, heun, x).figure

# %% [markdown]
# With fresh noise in each step they are not, here of fifteen points:

# %%
noisy = ej.make_plan(ej.samplers.ancestral(ej.samplers.euler()), ej.schedules.karras(40))
ej.plot.trajectories(problem, noisy, x[:15], jax.random.key(1)).figure

# %% [markdown]
# A plan as a matrix. Row by row, what each point is made of: the points before it (`x`), the
# denoised outputs (`D`), the noise (`z`). This is DPM-Solver++(2M), which looks back by one output:

# %%
ej.plot.plan(ej.make_plan(ej.samplers.dpmpp_2m(), ej.schedules.karras(8))).figure

# %% [markdown]
# UniPC looks back further:

# %%
ej.plot.plan(ej.make_plan(ej.samplers.unipc(), ej.schedules.karras(8))).figure

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
