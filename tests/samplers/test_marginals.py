"""Stochastic samplers against the laws of their papers: exact variances, and samples at 500 steps.

On Gaussian data with mean 0 the variance of each of Song's and of the discrete-time samplers is a
recursion of numbers, here in the paper's own scale and time, and the program's variance is exact
too: a sample is a sum of multiples of the start and of the draws, and each sample of a batch is
given one of them alone.
"""

import itertools

import numpy as np
import pytest
from jax import random
from support.helpers import mixture

import edmjax as ej
from edmjax import correctors as c, processes, samplers as s

DATA = 0.3  # the variance of the data
TIMES = np.linspace(0.95, 0.02, 9)
PROCESSES = {
    "vp": processes.vp(),
    "sub_vp": processes.sub_vp(0.2, 15.0),
    "ve": processes.ve(0.01, 20.0),
    "song_ve": processes.song_ve(10.0),
    "flow": processes.flow(),
    "cosine": processes.cosine(),
}


def exact_variance(plan, corrector=None, draws=0):
    """Of what `ej.sample` makes of N(0, 1), in the scale of the plan; `draws` of a corrector."""
    units = np.eye(1 + plan.num_draws + draws)[:, :, None]
    problem, noise = ej.problems.Gaussian([0.0], DATA), units[1:] if len(units) > 1 else None
    got = ej.sample(problem, plan, units[0], noise=noise, corrector=corrector)
    return float(np.sum(np.asarray(got) ** 2))


def rates(process, t):
    """(f, g^2, alpha, the variance of the noise, of all) of a process at t, its own scale."""
    alpha, std = process.marginal(t)
    f, g = process.rates(t)
    return f, g**2, alpha, std**2, alpha**2 * DATA + std**2


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("lam", [0.5, 1.0])
def test_euler_maruyama(x64, name, lam):
    process, variance = PROCESSES[name], 1.0
    for t, down in itertools.pairwise(TIMES):
        f, square, _, _, total = rates(process, t)
        h = down - t
        variance *= (1 + h * (f + (1 + lam**2) / 2 * square / total)) ** 2
        variance += lam**2 * square * -h
    plan = ej.make_plan(s.euler_maruyama(process, lam), process.levels(TIMES))
    np.testing.assert_allclose(exact_variance(plan), variance, rtol=1e-11)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("corrected", [False, True])
def test_the_predictors_and_an_annealed_corrector(x64, name, corrected):
    process = PROCESSES[name]
    for make in (s.reverse_diffusion, s.ancestral_sampling):
        variance = 1.0
        for t, down in itertools.pairwise(TIMES):
            _, _, alpha, noise, total = rates(process, t)
            _, _, alpha_next, noise_next, _ = rates(process, down)
            r = alpha / alpha_next
            square = noise - r**2 * noise_next  # G^2: what the forward step adds
            if corrected:
                step = 2 * 0.2**2 * noise
                variance = (1 - step / total) ** 2 * variance + 2 * step
            if make is s.reverse_diffusion:
                variance = (2 - r - square / total) ** 2 * variance + square
            else:
                variance = ((1 - square / total) / r) ** 2 * variance
                variance += square * (noise_next / noise if r == 1 else 1)
        plan = ej.make_plan(make(process), process.levels(TIMES))
        corrector = c.annealed_langevin(0.2) if corrected else None
        got = exact_variance(plan, corrector, plan.nfe if corrected else 0)
        np.testing.assert_allclose(got, variance, rtol=1e-10)


@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_discrete_time(x64, betas, spacing):
    """DDIM with eta, and DDPM with the larger variance, as DDIM's paper writes them (eq. 12)."""
    process = processes.ddpm(betas)
    grid = process.grid(11, spacing)
    abar = grid.scale**2
    for eta in (0.0, 0.5, 1.0, "large"):
        variance = 1.0
        for a, a_next in itertools.pairwise(abar):
            forward = 1 - a / a_next
            small = (1.0 if eta == "large" else eta) ** 2 * (1 - a_next) / (1 - a) * forward
            gain = a**0.5 * DATA / (a * DATA + 1 - a)  # of E[x0 | x]
            eps = (1 - a**0.5 * gain) / (1 - a) ** 0.5
            step = a_next**0.5 * gain + (1 - a_next - small) ** 0.5 * eps
            drawn = (forward if eta == "large" else small) if a_next < 1 else 0.0
            variance = step**2 * variance + drawn
        sampler = s.ddpm("fixed_large") if eta == "large" else s.ddim(eta)
        got = exact_variance(ej.make_plan(sampler, grid))
        np.testing.assert_allclose(got, variance, rtol=1e-9)


# ---- samples of a mixture


def sliced(a, b, rng):
    """The sliced Wasserstein-1 distance of two sample sets over 256 directions."""
    directions = rng.normal(size=(256, a.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.mean(np.abs(np.sort(a @ directions.T, axis=0) - np.sort(b @ directions.T, axis=0)))


EULER, REVERSE = s.euler_maruyama, s.reverse_diffusion
SETTINGS = {
    "vp, Euler-Maruyama": (processes.vp(), EULER, None),
    "sub_vp, Euler-Maruyama": (processes.sub_vp(), EULER, None),
    "song_ve, Euler-Maruyama": (processes.song_ve(), EULER, None),
    "vp, by the batch": (processes.vp(), REVERSE, c.langevin(0.16, norm="batch")),
    "vp, annealed": (processes.vp(), REVERSE, c.annealed_langevin(0.16)),
    "sub_vp, by the batch": (processes.sub_vp(), REVERSE, c.langevin(0.16, norm="batch")),
    "song_ve, the tutorial": (processes.song_ve(), EULER, c.langevin(0.16, norm="batch_sqrt_d")),
    "song_ve, annealed on the result": (
        processes.song_ve(),
        REVERSE,
        c.annealed_langevin(0.16, on_result=True),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_500_steps_sample_the_mixture(name):
    """Within twice the distance that two exact sample sets have; 5 seeds, the ratio of means."""
    process, make, corrector = SETTINGS[name]
    levels = process.levels(np.append(np.linspace(1, 1e-3, 500), 0.0))
    plan, problem = ej.make_plan(make(process, final="mean"), levels), mixture()
    got, floor = [], []
    for seed in range(5):
        keys, rng = random.split(random.key(seed), 4), np.random.default_rng(seed)
        x = process.prior_std * random.normal(keys[0], (2000, 2))
        samples = np.asarray(ej.sample(problem, plan, x, keys[1], corrector=corrector))
        exact, other = (np.asarray(problem.sample(key, 2000)) for key in keys[2:])
        got.append(sliced(samples, exact, rng))
        floor.append(sliced(other, exact, rng))
    ratio = np.mean(got) / np.mean(floor)
    print(f"{name}: {ratio:.2f}")
    assert ratio < 2


@pytest.mark.slow
def test_500_steps_sample_in_many_dimensions_by_the_norm_of_each_sample():
    """The default norm, in 64 dimensions: against exact samples, as above."""
    d, process = 64, processes.vp()
    means = np.random.default_rng(0).normal(size=(3, d)) * 0.5
    problem = ej.problems.Mixture([0.5, 0.3, 0.2], means, 0.04)
    levels = process.levels(np.append(np.linspace(1, 1e-3, 500), 0.0))
    plan, x = ej.make_plan(REVERSE(process), levels), random.normal(random.key(0), (2000, d))
    samples = np.asarray(ej.sample(problem, plan, x, random.key(1), corrector=c.langevin(0.16)))
    exact, other = (np.asarray(problem.sample(random.key(k), 2000)) for k in (2, 3))
    rng = np.random.default_rng(1)
    ratio = sliced(samples, exact, rng) / sliced(other, exact, rng)
    print(f"64 dimensions: {ratio:.2f}")
    assert ratio < 2
