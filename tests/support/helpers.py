"""What the tests of solvers share: the table of samplers, problems, grids, and counting."""

import contextlib
import os

import jax
import pytest

import edmjax as ej
from support.cases import GAUSSIAN, MIXTURE, uniform as uniform
from support.certificates import CERTIFICATES

# The entries of the table of certificates that every test over all samplers runs over: name ->
# (make, order, evaluations of n steps down to zero) of those along the flow, without the order of
# those that draw.
_SHARED = {name: entry for name, entry in CERTIFICATES.items() if entry.shared}
SAMPLERS = {
    name: (entry.make, entry.order, entry.evaluations)
    for name, entry in _SHARED.items()
    if entry.order is not None
}
STOCHASTIC = {
    name: (entry.make, entry.evaluations) for name, entry in _SHARED.items() if entry.order is None
}
# Adams-Bashforth methods hold on the step to zero, where the others are the denoiser.
MULTISTEP_AT_ZERO = {name for name, entry in _SHARED.items() if entry.zero == "own"}
# Where they are above 4. A Runge-Kutta start has four evaluations a step to look back over.
WINDOWS = {"pndm": 13, "plms": 5}
ALL = {name: (make, nfe) for name, (make, _, nfe) in SAMPLERS.items()} | STOCHASTIC


def mixture():
    """A three-mode mixture in two dimensions, unequal weights and widths."""
    return ej.problems.Mixture(**MIXTURE)


def gaussian():
    return ej.problems.Gaussian(**GAUSSIAN)


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


# For `jax.jit` of what runs long, where the tier compiles without most optimisations (conftest.py).
OPTIMIZED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
if "fusion_emitters=false" in os.environ.get("XLA_FLAGS", ""):
    OPTIMIZED["xla_cpu_use_fusion_emitters"] = True


def final(value):
    return jax.block_until_ready(value)


# One of each kind: one step, inner rows, history, noise, noise with history, several draws. What
# compiles several programs a sampler runs over these, or fewer; over the rest in a later tier.
KINDS = ("euler", "heun", "dpm_2", "dpmpp_2m", "lms", "unipc", "ddpm", "churn_heun", "two_draws")
# History and inner rows with noise, where what is tested is the loop.
FEW = ("dpmpp_2m", "churn_heun")


def later(*values, mark=pytest.mark.thorough):
    """`values` for `parametrize`, marked for a later tier."""
    return [pytest.param(value, marks=mark) for value in values]


def first(n, values, mark=pytest.mark.slow):
    """`values` for `parametrize`, those behind the first `n` marked for a later tier."""
    return [*values[:n], *later(*values[n:], mark=mark)]


def over(table, quick=KINDS, thorough=()):
    """The names of a table for `parametrize`: quick, thorough, and all others slow."""
    tiers = [(quick, ()), (thorough, pytest.mark.thorough), (table, pytest.mark.slow)]
    marks = {name: next(mark for names, mark in tiers if name in names) for name in table}
    return [pytest.param(name, marks=mark) for name, mark in marks.items()]
