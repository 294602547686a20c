"""What the tests of solvers share: the table of samplers, problems, grids, and counting."""

import contextlib
import math

import jax
import numpy as np
import pytest

import edmjax as ej
from edmjax import samplers as s

# Every sampler inherits every claim of the tests that run over this table: name -> (make, order,
# evaluations of n steps down to zero). The order is that of the strong, noise-free method.
SAMPLERS = {
    "euler": (s.euler, 1, lambda n: n),
    "heun": (s.heun, 2, lambda n: 2 * n - 1),
    "dpm_2": (s.dpm_2, 2, lambda n: 2 * n - 1),
    "dpmpp_2m": (s.dpmpp_2m, 2, lambda n: n),
    "dpmpp_2m_heun": (lambda: s.dpmpp_2m("heun"), 2, lambda n: n),
    "dpmpp_3m": (s.dpmpp_3m, 2, lambda n: n),
    "dpmpp_3m_corrected": (
        lambda: s.dpmpp_3m(corrected=True, start_order=2),
        3,
        lambda n: n + (n > 1),
    ),
    "dpmpp_singlestep": (s.dpmpp_singlestep, 2, lambda n: n),
    "dpm_solver_3": (s.dpm_solver, 3, lambda n: 3 * n - 2),
    "dpm_solver_2m": (lambda: s.dpm_solver(2, "multistep"), 2, lambda n: n),
    "dpm_solver_3m": (
        lambda: s.dpm_solver(3, "multistep", start_order=2),
        3,
        lambda n: n + (n > 1),
    ),
    "midpoint": (s.midpoint, 2, lambda n: 2 * n - 1),
    "dpmpp_2s": (s.dpmpp_2s, 2, lambda n: 2 * n - 1),
    "res_2s": (s.res_2s, 2, lambda n: 2 * n - 1),
    "res_3s": (s.res_3s, 3, lambda n: 3 * n - 2),
    "exp_heun": (s.exp_heun, 2, lambda n: 2 * n - 1),
    "res_multistep": (s.res_multistep, 2, lambda n: n),
    "gradient_estimation": (s.gradient_estimation, 1, lambda n: n),
    "heunpp2": (s.heunpp2, 1, lambda n: max(1, 3 * n - 3)),
    "lms": (s.lms, 2, lambda n: n),
    "ipndm": (s.ipndm, 2, lambda n: n),
    "ipndm_v": (s.ipndm_v, 2, lambda n: n),
    "deis": (s.deis, 2, lambda n: n),
    "unipc": (s.unipc, 2, lambda n: n),
    "pndm": (s.pndm, 2, lambda n: n + 3 * min(n - 1, 3)),
    "plms": (lambda: s.pndm(runge_kutta=False), 2, lambda n: n + (n > 1)),
    "ddim": (lambda: s.ddim(0.0), 1, lambda n: n),
    "euler_maruyama_0": (lambda: s.euler_maruyama(lam=0.0), 1, lambda n: n),
    "dpmpp_sde_0": (lambda: s.dpmpp_sde(eta=0.0), 2, lambda n: 2 * n - 1),
    "dpmpp_2m_sde_0": (lambda: s.dpmpp_2m_sde(eta=0.0), 2, lambda n: n),
    "dpmpp_3m_sde_0": (lambda: s.dpmpp_3m_sde(eta=0.0), 2, lambda n: n),
    "seeds_2_0": (lambda: s.seeds_2(eta=0.0), 2, lambda n: 2 * n - 1),
    "er_sde_ode": (lambda: s.er_sde(scaler="ode"), 2, lambda n: n),
    "sa_solver_0": (lambda: s.sa_solver(1, 2, tau=0.0), 2, lambda n: n),
}
STOCHASTIC = {
    "ddim_half": (lambda: s.ddim(0.5), lambda n: n),
    "ddpm": (s.ddpm, lambda n: n),
    "euler_maruyama": (s.euler_maruyama, lambda n: n),
    "churn_euler": (lambda: s.churn(s.euler(), 8.0), lambda n: n),
    "churn_heun": (lambda: s.churn(s.heun(), 8.0, 0.05, 50.0, 1.003), lambda n: 2 * n - 1),
    "churn_dpmpp_2m": (lambda: s.churn(s.dpmpp_2m(), 8.0), lambda n: n),
    "ancestral_dpmpp_2s": (lambda: s.ancestral(s.dpmpp_2s(), 0.7), lambda n: 2 * n - 1),
    "ancestral_dpm_2": (lambda: s.ancestral(s.dpm_2(), 0.7), lambda n: 2 * n - 1),
    "two_draws": (lambda: s.churn(s.ancestral(s.euler()), 8.0), lambda n: n),
    "dpmpp_sde": (s.dpmpp_sde, lambda n: 2 * n - 1),
    "dpmpp_sde_independent": (lambda: s.dpmpp_sde(noise="independent"), lambda n: 2 * n - 1),
    "dpmpp_2m_sde": (s.dpmpp_2m_sde, lambda n: n),
    "dpmpp_3m_sde": (s.dpmpp_3m_sde, lambda n: n),
    "seeds_2": (s.seeds_2, lambda n: 2 * n - 1),
    "seeds_3": (s.seeds_3, lambda n: 3 * n - 2),
    "er_sde": (s.er_sde, lambda n: n),
    "sa_solver": (s.sa_solver, lambda n: n),
    "restart_heun": (
        lambda: s.restart(s.heun(), [(0.05, 2.0, 3, 2)]),
        lambda n: 2 * n - 1 + 12 * (n > 1),
    ),
}
# Adams-Bashforth methods hold on the step to zero, where the others are the denoiser.
MULTISTEP_AT_ZERO = {"lms", "ipndm", "pndm", "plms"}
# Where they are above 4. A Runge-Kutta start has four evaluations a step to look back over.
WINDOWS = {"pndm": 13, "plms": 5}
ALL = {name: (make, nfe) for name, (make, _, nfe) in SAMPLERS.items()} | STOCHASTIC


def mixture():
    """A three-mode mixture in two dimensions, unequal weights and widths."""
    return ej.problems.Mixture(
        weights=[0.5, 0.3, 0.2],
        means=[[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]],
        covs=[0.04, 0.09, 0.02],
    )


def gaussian():
    return ej.problems.Gaussian(mean=[0.3, -0.2], cov=[[0.25, 0.1], [0.1, 0.16]])


def uniform(n, high=5.0, low=0.5):
    """n steps uniform in log sigma, stopping above zero: no last-step rule."""
    return np.exp(np.linspace(math.log(high), math.log(low), n + 1))


@contextlib.contextmanager
def compilations():
    """Counts the programs that XLA is asked for while the context is open."""
    count = []

    def listen(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            count.append(kwargs.get("fun_name", event))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield count
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def final(value):
    return jax.block_until_ready(value)


# One of each kind: one step, inner rows, history, noise, noise with history, several draws. What
# compiles several programs a sampler runs over these; over the rest it is `slow`.
KINDS = ("euler", "heun", "dpm_2", "dpmpp_2m", "lms", "unipc", "ddpm", "churn_heun", "two_draws")


def over(table):
    """The names of a table for `parametrize`, those outside `KINDS` marked as slow."""
    return [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in table]
