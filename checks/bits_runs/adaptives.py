"""Adaptive solving: the package's own methods, diffrax's, and diffrax's methods as samplers."""

import warnings
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from bits_runs import adapter, cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed

ENDS = {"sigma_max": 20.0, "sigma_min": 0.01}

METHODS = {
    "adaptive": lambda: api.adaptive.adaptive(rtol=0.05, atol=0.05),
    "adaptive_2": lambda: api.adaptive.adaptive(order=2, rtol=0.05, atol=0.05, sigma_data=0.7),
    "adaptive_batch": lambda: api.adaptive.adaptive(rtol=0.05, atol=0.05, per_sample=False),
    "dpm": lambda: api.adaptive.dpm_adaptive(),
    "dpm_2": lambda: api.adaptive.dpm_adaptive(order=2),
    "dpm_batch": lambda: api.adaptive.dpm_adaptive(per_sample=False, pcoeff=0.2),
    "dpm_noise": lambda: api.adaptive.dpm_adaptive(eta=0.5, s_noise=1.01),
}


def own(name: str, dtype: str, differentiable: bool = False, max_steps: int = 100) -> Any:
    x, method = cases.points(dtype=dtype, scale=20.0), METHODS[name]()
    result = api.adaptive.sample(
        cases.mixture(),
        method,
        x,
        cases.key(),
        max_steps=max_steps,
        differentiable=differentiable,
        **ENDS,
    )
    return adapter.adaptive_result(result)


for _name in METHODS:
    _dtypes = ["float32", "float64", "bfloat16"] if _name in ("adaptive", "dpm") else ["float32"]
    typed(f"adaptive/{_name}", own, _name, dtypes=_dtypes)


@run("adaptive/trees")
def trees() -> Any:
    x = jax.tree.map(lambda leaf: leaf / 4, cases.tree_points())
    method = METHODS["adaptive"]()
    result = api.adaptive.sample(cases.Tree(), method, x, cond=jnp.arange(4.0), **ENDS)
    return adapter.adaptive_result(result)


@run("adaptive/noise_given")
def noise_given() -> Any:
    x, noise = cases.points(scale=20.0), cases.points((60, 4, 2), scale=1.0)
    method = METHODS["dpm_noise"]()
    result = api.adaptive.sample(cases.mixture(), method, x, noise=noise, **ENDS)
    return adapter.adaptive_result(result)


@run("adaptive/slope")
def slope() -> Any:
    def total(x: Any) -> Any:
        found = api.adaptive.sample(
            cases.mixture(), METHODS["adaptive"](), x, max_steps=40, differentiable=True, **ENDS
        )
        return jnp.sum(found[0])

    return jax.jit(jax.value_and_grad(total))(cases.points(scale=20.0))


@run("adaptive/in_a_program")
def in_a_program() -> Any:
    def made(x: Any) -> Any:
        result = api.adaptive.sample(cases.mixture(), METHODS["dpm"](), x, **ENDS)
        return adapter.adaptive_result(result)

    return jax.jit(made)(cases.points(scale=20.0))


# ---- diffrax

SOLVERS = ("Heun", "Tsit5")


def by_diffrax(solver: str, dtype: str, *, per_sample: bool = False, **options: Any) -> Any:
    x = cases.points(dtype=dtype, scale=20.0)
    options |= ENDS | {"per_sample": per_sample}  # given, as its default has changed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = api.terms.adaptive_sample(
            cases.mixture(), x, solver=getattr(diffrax, solver)(), **options
        )
    return adapter.adaptive_result(result)


for _solver in SOLVERS:
    typed(f"terms/adaptive/{_solver}", by_diffrax, _solver, dtypes=["float32"])
typed(
    "terms/adaptive/per_sample",
    by_diffrax,
    "Heun",
    per_sample=True,
    dtypes=["float64", "bfloat16"],
)
for _form in ("log_sigma", "sigma"):
    typed(f"terms/adaptive/{_form}", by_diffrax, "Tsit5", form=_form, dtypes=["float32"])


@run("terms/adaptive/t")
def own_time() -> Any:
    return by_diffrax("Tsit5", "float32", form="t", process=api.processes.vp())


@run("terms/adaptive/edm")
def network() -> Any:
    """The network's own output, and a condition."""
    x = cases.points(scale=20.0)
    result = api.terms.adaptive_sample(
        api.denoisers.edm(cases.network), x, cond=jnp.arange(4.0), per_sample=True, **ENDS
    )
    return adapter.adaptive_result(result)


FORMS = ("theta", "log_sigma", "sigma")


def ode(form: str, dtype: str) -> Any:
    x = cases.points(dtype=dtype, scale=20.0)
    term = api.terms.ode_term(cases.mixture(), form=form)
    made = term.vector_field.form
    ts = made.times([20.0, 5.0, 0.5, 0.01], x)
    y = made.enter(x, 20.0)

    def solve(y: Any) -> Any:
        return diffrax.diffeqsolve(
            term,
            diffrax.Heun(),
            ts[0],
            ts[-1],
            None,
            y,
            stepsize_controller=diffrax.StepTo(ts),
        ).ys

    end = jax.tree.map(lambda leaf: leaf[-1], jax.jit(solve)(y))
    return ts, y, end, made.leave(end, 0.01)


for _form in FORMS:
    typed(f"terms/ode/{_form}", ode, _form, dtypes=["float32"])
typed("terms/ode/theta", ode, "theta", dtypes=["float64"])


def sde(solver: str, lam: float, process: str | None) -> Any:
    made = getattr(diffrax, solver)()
    own = None if process is None else getattr(api.processes, process)()
    x = cases.points(scale=1.0 if process else 20.0)
    ts = api.terms.sde_times(own, [5.0, 0.5], x)
    path = api.terms.brownian_path(made, cases.key(), x, ts[0], ts[-1], tol=1e-3)
    terms = api.terms.sde_terms(cases.mixture(), own, path, lam=lam)

    def solve(x: Any) -> Any:
        return diffrax.diffeqsolve(terms, made, ts[0], ts[-1], (ts[-1] - ts[0]) / 6, x).ys

    return ts, jax.jit(solve)(x)


for _solver, _lam, _process in (("Euler", 0.5, None), ("ShARK", 1.0, "vp")):
    add(f"terms/sde/{_solver}", sde, _solver, _lam, _process)


@run("terms/sde/brownian")
def sde_on_a_path() -> Any:
    """On the path that `sample` knows."""
    x = cases.points(scale=20.0)
    ts = api.terms.sde_times(None, [5.0, 0.5], x)
    path = api.brownian(cases.key()).diffrax_path(x)
    terms = api.terms.sde_terms(cases.mixture(), None, path)

    def solve(x: Any) -> Any:
        return diffrax.diffeqsolve(
            terms, diffrax.Euler(), ts[0], ts[-1], (ts[-1] - ts[0]) / 6, x
        ).ys

    return jax.jit(solve)(x)


TABLEAUS = (
    "from_diffrax(diffrax.Heun())",
    "from_diffrax(diffrax.Midpoint(), 'log_sigma')",
    "from_diffrax(diffrax.Bosh3(), 'sigma')",
    "from_diffrax(diffrax.Tsit5())",
    "from_diffrax(diffrax.Dopri5(), 't', process=processes.vp())",
    "from_diffrax(diffrax.Dopri8(), sigma_data=0.8)",
    "churn(from_diffrax(diffrax.Ralston()), s_churn=4.0)",
)


def tableau(text: str) -> Any:
    plan = api.make_plan(adapter.sampler(text), cases.karras(4, sigma_max=20.0))
    return adapter.plan_arrays(plan)


def tableau_sample(text: str, dtype: str) -> Any:
    plan = api.make_plan(adapter.sampler(text), cases.karras(3, sigma_max=20.0))
    return api.sample(cases.mixture(), plan, cases.points(dtype=dtype, scale=20.0))


for _text in TABLEAUS:
    add(f"terms/plans/{_text}", tableau, _text)
for _text in (TABLEAUS[0], TABLEAUS[3]):
    typed(f"terms/samples/{_text}", tableau_sample, _text)


@run("terms/forms", modes=("x32", "x64"))
def forms() -> Any:
    sigmas = np.array([0.01, 0.3, 4.0, 70.0])
    found = {}
    for name in (*FORMS, "t"):
        form = api.terms.make_form(name, api.processes.vp() if name == "t" else None)
        s = form.time(sigmas)
        found[name] = s, form.level(s), form.factor(sigmas), form.rates(s, sigmas)
    return found
