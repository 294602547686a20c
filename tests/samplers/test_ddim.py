"""DDIM and DDPM in discrete time: every option of the schedulers, against diffusers' numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from support.cases import MIXTURE, Mixture, golden
from support.helpers import compilations, final, mixture
from support.laws import weak_order

import edmjax as ej
from edmjax import samplers as s

CASES = golden("discrete_time")["cases"]


def quick_first(cases):
    """The first case of each kind of configuration; the others are slow."""
    seen = set()
    for case in cases:
        kind = case["scheduler"], *case["config"], case["config"].get("prediction_type")
        marks = [pytest.mark.slow] if kind in seen else []
        seen.add(kind)
        yield pytest.param(case, id=case["id"], marks=marks)


def process_of(config):
    """The process of a scheduler's configuration, with the scheduler's defaults."""
    betas = config.get("beta_schedule", "linear")
    ends = (config.get("beta_start"), config.get("beta_end"))
    return ej.processes.ddpm(
        betas,
        *ends,
        num_timesteps=config.get("num_train_timesteps", 1000),
        rescale_zero_snr=config.get("rescale_betas_zero_snr", False),
    )


def denoiser_of(config, problem, process):
    """A network that predicts exactly what the configuration says, and its denoiser."""

    def net(x, t):
        alpha, std = process.marginal(t)
        sigma = process.sigma(t)
        x0 = problem.denoise(x / alpha, sigma)
        noise = (x / alpha - x0) / sigma
        kind = config.get("prediction_type", "epsilon")
        return {"epsilon": noise, "sample": x0, "v_prediction": alpha * noise - std * x0}[kind]

    def at_infinity(x, t):
        """v = -x0 where nothing of the data is left, which is the mean of the data."""
        mean = jnp.asarray(problem.weights @ problem.means)
        last = t >= process.num_timesteps - 1
        safe = jnp.where(last, process.num_timesteps - 2, t)
        return jnp.where(last, -mean, net(x, safe))

    zero_snr = config.get("rescale_betas_zero_snr", False)
    kind = config.get("prediction_type", "epsilon")
    denoise = ej.denoisers.prediction(at_infinity if zero_snr else net, process, kind)
    if config.get("thresholding"):
        ratio, most = config["dynamic_thresholding_ratio"], config["sample_max_value"]
        return ej.guidance.dynamic_threshold(denoise, ratio, max_value=most)
    reach = config.get("clip_sample_range", 1.0)
    return ej.guidance.clip(denoise, -reach, reach) if config.get("clip_sample", True) else denoise


def levels_of(case, process):
    config, n = case["config"], case["n"]
    spacing = config.get("timestep_spacing", "leading")
    offset = config.get("steps_offset", 0)
    if not config.get("set_alpha_to_one", True) and not offset:
        # Its last step goes from timestep 0 to itself: nowhere.
        return process.levels(process.timesteps(n, spacing))
    return process.grid(
        n,
        spacing,
        steps_offset=offset,
        set_alpha_to_one=config.get("set_alpha_to_one", True),
    )


@pytest.mark.parametrize("case", list(quick_first(CASES)))
def test_diffusers(x64, case):
    stored = golden("problem")
    problem = ej.problems.Mixture(stored["weights"], stored["means"], stored["std"] ** 2)
    noise, bank = np.array(stored["noise"]), np.array(stored["bank"])
    process = process_of(case["config"])
    levels = levels_of(case, process)
    np.testing.assert_array_equal(levels.times[: len(case["timesteps"])], case["timesteps"])
    if case["scheduler"] == "DDIMScheduler":
        step = {"use_clipped_model_output": False} | case["step"]
        sampler = s.ddim(**step)
    else:
        sampler = s.ddpm(case["config"].get("variance_type", "fixed_small"))
    plan = ej.make_plan(sampler, levels)
    assert plan.num_draws in (case["n_draws"], max(0, case["n_draws"] - 1))
    denoise = denoiser_of(case["config"], problem, process)
    got = ej.sample(denoise, plan, noise, noise=bank[: plan.num_draws])
    expected = np.array(case["x"]) / levels.scale[-1] * plan.scale[-1]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("clip_x0", [False, True])
@pytest.mark.parametrize("simple_var", [False, True])
def test_ddpm_of_2020_in_its_own_form(x64, clip_x0, simple_var):
    """Ho et al., Algorithm 2, on all timesteps; and DDIM with the same variance, which it equals.

    `simple_var` is beta, their larger variance. Without clipping the mean is that of eq. 11, in
    eps; with it that of eq. 7, in the clipped x0. DDIM is eq. 12 of Song et al., with the eps of
    the clipped x0 and eta = 1, and with the larger variance as in their section 5.
    """
    problem, rng = Mixture(**MIXTURE), np.random.default_rng(0)
    betas = np.linspace(1e-4, 0.02, 50)
    abar = np.cumprod(1 - betas)
    before = np.append(1.0, abar[:-1])
    small = betas * (1 - before) / (1 - abar)
    spread = np.sqrt(betas if simple_var else small)
    start, noise = rng.normal(size=(8, 2)), rng.normal(size=(49, 8, 2))
    x = ddim = start

    def predicted(x, t):
        sigma = np.sqrt((1 - abar[t]) / abar[t])
        x0 = problem.denoise(x / np.sqrt(abar[t]), sigma)
        x0 = np.clip(x0, -0.5, 0.5) if clip_x0 else x0
        return x0, (x - np.sqrt(abar[t]) * x0) / np.sqrt(1 - abar[t])

    for i, t in enumerate(range(49, -1, -1)):
        x0, eps = predicted(x, t)
        if clip_x0:
            mean = np.sqrt(before[t]) * betas[t] / (1 - abar[t]) * x0
            mean = mean + np.sqrt(1 - betas[t]) * (1 - before[t]) / (1 - abar[t]) * x
        else:
            mean = (x - betas[t] / np.sqrt(1 - abar[t]) * eps) / np.sqrt(1 - betas[t])
        drawn = spread[t] * noise[i] if t else 0.0
        x = mean + drawn
        x0, eps = predicted(ddim, t)
        ddim = np.sqrt(before[t]) * x0 + np.sqrt(1 - before[t] - small[t]) * eps + drawn
    variance = "fixed_large" if simple_var else "fixed_small"
    plan = ej.make_plan(s.ddpm(variance), ej.processes.ddpm(num_timesteps=50).grid(50))
    denoise = ej.guidance.clip(mixture(), -0.5, 0.5) if clip_x0 else mixture()
    got = ej.sample(denoise, plan, start, noise=noise)
    np.testing.assert_allclose(got, x, rtol=0, atol=1e-11)
    np.testing.assert_allclose(got, ddim, rtol=0, atol=1e-11)


def test_ddims_larger_variance_is_ddpms(x64):
    """Song et al. (2021), section 5: eta = 1 in the mean, and sqrt(1 - abar / abar_next) noise."""
    process = ej.processes.ddpm("scaled_linear")
    levels = process.grid(20)
    plan = ej.make_plan(s.ddpm("fixed_large"), levels)
    small = ej.make_plan(s.ddim(1.0), levels)
    for name in ("y", "d"):
        np.testing.assert_allclose(
            getattr(plan, name), getattr(small, name), rtol=1e-12, atol=1e-15
        )
    abar = levels.scale**2
    np.testing.assert_allclose(plan.z[1:-1, 0], np.sqrt(1 - abar[:-2] / abar[1:-1]), rtol=1e-9)


def test_a_learned_variance_lies_between_the_fixed_ones(x64):
    process, problem, x = (
        ej.processes.ddpm(),
        mixture(),
        np.random.default_rng(1).normal(size=(5, 2)),
    )
    levels = process.grid(12)
    plan = ej.make_plan(s.ddpm("learned_range"), levels)

    def run(share):
        def denoise(x, sigma):
            return {"x0": problem.denoise(x, sigma), "log_var": jnp.full_like(x, share)}

        return ej.sample(denoise, plan, x, random.key(3))

    for share, variance in ((-1.0, "fixed_small"), (1.0, "fixed_large")):
        fixed = ej.make_plan(s.ddpm(variance), levels)
        expected = ej.sample(problem, fixed, x, random.key(3))
        np.testing.assert_allclose(run(share), expected, rtol=0, atol=1e-12)
    # In the middle of the logarithms: a geometric mean, which is not that of the samples.
    both = (ej.make_plan(s.ddpm(v), levels).z for v in ("fixed_small", "fixed_large"))
    np.testing.assert_allclose(plan.z, np.sqrt(np.prod(list(both), axis=0)), rtol=1e-12)


def test_equalities():
    levels = ej.processes.ddpm("squaredcos_cap_v2").grid(15)
    for one, other in (
        (s.ddim(0.0), s.euler()),
        (s.ddim(1.0), s.ddpm("fixed_small")),
        (s.ddim(0.4), s.ancestral(s.euler(), 0.4)),
    ):
        for a, b in zip(
            *(jax.tree.leaves(ej.make_plan(m, levels)) for m in (one, other)), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    raw = ej.make_plan(s.ddim(0.4, use_clipped_model_output=False), levels)
    whole = ej.make_plan(s.ddim(0.4), levels)
    # Where nothing was clipped the raw output is the output.
    np.testing.assert_allclose(raw.y, whole.y, atol=1e-14)
    np.testing.assert_allclose(raw.d + raw.r, whole.d, atol=1e-12)
    np.testing.assert_array_equal(raw.z, whole.z)


@pytest.mark.parametrize("n", [1, 3, 7, 13, 50, 333, 999, 1000])
def test_trailing_ends_at_the_data_for_any_number_of_steps(n):
    levels = ej.processes.ddpm(rescale_zero_snr=True).grid(n)
    assert len(levels) == n + 1 and levels.sigmas[0] == np.inf
    assert levels.sigmas[-1] == 0 and levels.scale[-1] == 1


def test_weak_order():
    for variance in ("fixed_small", "fixed_large"):
        order = weak_order(lambda n, v=variance: s.ddpm(v))
        assert abs(order - 1) < 0.15


def test_one_program_for_other_etas_and_processes():
    x = random.normal(random.key(0), (4, 2))
    run = jax.jit(lambda plan, x, key: ej.sample(mixture(), plan, x, key))
    plans = [
        ej.make_plan(s.ddim(eta), ej.processes.ddpm(betas).grid(10, spacing))
        for eta, betas, spacing in itertools.product(
            (0.3, 1.0), ("linear", "scaled_linear"), ("trailing", "leading")
        )
    ]
    final(run(plans[0], x, random.key(1)))
    with compilations() as count:
        for plan in plans:
            final(run(plan, x, random.key(1)))
    assert count == []


@pytest.mark.thorough
def test_slopes_in_eta(x64):
    levels, x = ej.processes.ddpm().grid(6), np.random.default_rng(2).normal(size=(3, 2))
    denoise = ej.guidance.clip(mixture(), -0.8, 0.8)

    @jax.jit
    def loss(eta):
        plan = ej.make_plan(s.ddim(eta, use_clipped_model_output=False), levels)
        return jnp.sum(ej.sample(denoise, plan, x, random.key(0)) ** 2)

    difference = (loss(0.5 + 1e-6) - loss(0.5 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(loss)(0.5), difference, rtol=1e-6)
    assert np.isfinite(jax.grad(loss)(0.0)) and np.isfinite(jax.grad(loss)(1.0))


def test_bad_options_get_a_sentence():
    with pytest.raises(ValueError, match=r"`eta` must be in \[0, 1\], got 1.5"):
        s.ddim(1.5, use_clipped_model_output=False)
    with pytest.raises(
        ValueError, match=r"'fixed_small', 'fixed_large' or 'learned_range', got 'la"
    ):
        s.ddpm("large")
    with pytest.raises(ValueError, match=r"without bounds, 'learned', is not here: train it"):
        s.ddpm("learned")
    plan = ej.make_plan(s.ddpm("learned_range"), ej.schedules.karras(5))
    with pytest.raises(ValueError, match="the denoiser returned no 'log_var'"):
        ej.sample(mixture(), plan, jnp.zeros((2, 2)), random.key(0))
