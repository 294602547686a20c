"""What was spelled otherwise in the last release works, is the same, and warns."""

import functools
import warnings

import jax
import numpy as np
import pytest

import edmjax as ej
from edmjax import samplers as s, schedules as c

GRID = [4.0, 2.0, 1.0, 0.3]
VP = ej.processes.vp()

SAMPLERS = {
    "lms(4, final='multistep')": (lambda: s.lms(4, "multistep"), s.lms(4, "method")),
    "ipndm(final='multistep')": (lambda: s.ipndm(final="multistep"), s.ipndm()),
    "ipndm_v(final='multistep')": (lambda: s.ipndm_v(final="multistep"), s.lms()),
    "pndm(final='multistep')": (lambda: s.pndm(final="multistep"), s.pndm()),
    "euler_maruyama(lam=, final='mean')": (
        lambda: s.euler_maruyama(VP, lam=0.5, final="mean"),
        s.euler_maruyama(VP, 0.5, "method"),
    ),
    "euler_maruyama(VP, 0.5, 'mean')": (
        lambda: s.euler_maruyama(VP, 0.5, "mean"),
        s.euler_maruyama(VP, 0.5, "method"),
    ),
    "reverse_diffusion(lam=)": (lambda: s.reverse_diffusion(lam=0.5), s.reverse_diffusion(eta=0.5)),
    "ancestral_sampling(final='mean')": (
        lambda: s.ancestral_sampling(final="mean"),
        s.ancestral_sampling(final="method"),
    ),
    "sa_solver(tau=)": (lambda: s.sa_solver(tau=0.5), s.sa_solver(eta=0.5)),
    "f_trig(corrected=)": (lambda: s.f_trig(corrected=False), s.f_trig(False)),
    "f_trig(False, 0.7, 0.3)": (
        lambda: s.f_trig(True, 0.7, 0.3),
        s.f_trig(sigma_data=0.7, above=0.3),
    ),
    "f_ab(3, 'theta', 0.7)": (
        lambda: s.f_ab(3, "theta", 0.7),
        s.f_ab(3, "theta", sigma_data=0.7),
    ),
    "f_pc(3, 'theta', 0.7)": (
        lambda: s.f_pc(3, "theta", 0.7),
        s.f_pc(3, "theta", sigma_data=0.7),
    ),
    "f_rk(3, 'theta', 0.7)": (
        lambda: s.f_rk(3, "theta", 0.7),
        s.f_rk(3, "theta", sigma_data=0.7),
    ),
    "analytic_first_step(inner, 0.7)": (
        lambda: s.analytic_first_step(s.heun(), 0.7),
        s.analytic_first_step(s.heun(), sigma_data=0.7),
    ),
    "teleport(inner, 0.7)": (
        lambda: s.teleport(s.heun(), 0.7),
        s.teleport(s.heun(), sigma_data=0.7),
    ),
    "from_name('sa_solver', tau=)": (
        lambda: s.from_name("sa_solver", package="edmjax", tau=0.5),
        s.sa_solver(eta=0.5),
    ),
}
SCHEDULES = {
    "theta(5, 0.1, 9.0, 0.7)": (
        lambda: c.theta(5, 0.1, 9.0, 0.7),
        c.theta(5, 0.1, 9.0, sigma_data=0.7),
    ),
    "kl_optimal(5, sigma_data=)": (
        lambda: c.kl_optimal(5, sigma_data=0.7),
        c.theta(5, sigma_data=0.7),
    ),
    "vp(5, beta_d=)": (
        lambda: c.vp(5, beta_d=9.0, beta_min=0.4),
        c.vp(5, beta_min=0.4, beta_max=9.4),
    ),
    "ddpm(5, linear_start=, linear_end=)": (
        lambda: c.ddpm(5, linear_start=1e-4, linear_end=0.02),
        c.ddpm(5, 1e-4, 0.02),
    ),
}


@pytest.mark.parametrize("former, now", SAMPLERS.values(), ids=SAMPLERS)
def test_a_former_spelling_of_a_sampler_warns_and_is_the_same(former, now):
    with pytest.warns(DeprecationWarning, match="goes with version 0.3"):
        sampler = former()
    one, other = ej.make_plan(sampler, GRID), ej.make_plan(now, GRID)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("former, now", SCHEDULES.values(), ids=SCHEDULES)
def test_a_former_spelling_of_a_schedule_warns_and_is_the_same(former, now):
    with pytest.warns(DeprecationWarning, match="goes with version 0.3"):
        levels = former()
    np.testing.assert_array_equal(levels, now)


def test_gaussian_split_is_one_name():
    with pytest.warns(DeprecationWarning, match="now edmjax.samplers.gaussian_split"):
        former = s.GaussianSplit
    assert former is s.gaussian_split and "GaussianSplit" not in s.__all__


def test_the_two_tables_of_a_ddpm_have_the_same_names():
    """The defaults differ, and each says whose it is: Stable Diffusion's and Ho et al.'s."""
    process = functools.partial(ej.processes.ddpm, num_timesteps=50)
    schedule = functools.partial(c.ddpm, 50, num_timesteps=50, final_zero=False)
    for betas in ("linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2"):
        np.testing.assert_array_equal(schedule(betas=betas)[::-1], process(betas).table)
    np.testing.assert_array_equal(schedule()[::-1], process("scaled_linear").table)


def test_spellings_of_today_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s.lms(final="denoise")
        s.euler_maruyama(VP, 0.5, final="method")
        s.f_trig(False, sigma_data=0.7, above=0.3)
        c.theta(5, sigma_data=0.7)
