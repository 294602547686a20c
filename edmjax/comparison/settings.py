"""What is compared: the options of the command with their defaults, and the series they make."""

import dataclasses
from collections.abc import Sequence
from itertools import product

import numpy as np

import edmjax as ej
from edmjax._common.arguments import as_seed, real, whole
from edmjax.comparison import methods
from edmjax.comparison.methods import Series
from edmjax.comparison.targets import Target

GROUPS = 8  # of samples, for the error bars of distances


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a comparison runs; `edmjax compare --help` says what each is.

    Samplers and schedules are texts with options in Python's syntax.
    """

    problems: Sequence[str] = ("P1", "P2", "P3")
    checkpoint: Sequence[str] = ()
    kinds: Sequence[str] = tuple(methods.KINDS)
    samplers: Sequence[str] = (
        "euler", "heun", "dpm_2", "dpmpp_2s", "dpmpp_2m", "dpmpp_3m(corrected=True)",
        "unipc(order=2)", "unipc(order=3)", "deis", "ipndm(order=3)", "lms",
    )  # fmt: skip
    schedules: Sequence[str] = ("karras", "exponential", "cosine", "logistic")
    budgets: Sequence[int] = (5, 6, 8, 10, 15, 20, 30, 40, 60, 100)
    adaptive: Sequence[str] = (
        "adaptive(order=2)", "adaptive(order=3)", "adaptive(order=4)", "dpm_adaptive(order=3)",
    )  # fmt: skip
    solvers: Sequence[str] = methods.SOLVERS
    forms: Sequence[str] = methods.FORMS
    noisy_samplers: Sequence[str] = (
        "euler_maruyama", "ancestral(euler)", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde",
        "sa_solver", "er_sde", "churn(heun, s_churn=20, s_min=0.05, s_max=50, s_noise=1.003)",
        "restart(heun, [(0.05, 2.0, 3, 1)])", "heun", "unipc(order=2)",
    )  # fmt: skip
    noisy_budgets: Sequence[int] = (10, 20, 40)
    samples: int = 512
    distance_samples: int = 2048
    perturbation: float = 0.3
    tolerance_step: float = 0.5
    seed: int = 0


# What the option --quick asks for.
QUICK = Settings(
    kinds=("plan", "adaptive", "diffrax-adaptive", "stochastic", "exact"),
    samplers=("heun", "dpmpp_2m", "unipc(order=2)"),
    schedules=("karras", "logistic"),
    budgets=(6, 10, 20, 40),
    adaptive=("adaptive(order=3)",),
    solvers=("Bosh3", "Tsit5"),
    forms=("theta", "sigma"),
    noisy_samplers=("euler_maruyama", "sa_solver", "unipc(order=2)"),
    noisy_budgets=(20,),
    samples=64,
    distance_samples=512,
    tolerance_step=1.0,
)


def check(settings: Settings) -> None:
    """`ValueError` or `TypeError` where the settings cannot be run, before anything is written."""
    if not settings.problems and not settings.checkpoint:
        raise ValueError("There is nothing to solve: name --problems or a --checkpoint.")
    whole(settings.samples, "--samples", least=4)
    if settings.distance_samples:  # 0 takes no distances
        whole(settings.distance_samples, "--distance-samples", least=4 * GROUPS)
    real(settings.tolerance_step, "--tolerance-step", above=0, most=7)
    real(settings.perturbation, "--perturbation", least=0)
    as_seed(settings.seed, "--seed")
    for name, budgets in (("budgets", settings.budgets), ("noisy-budgets", settings.noisy_budgets)):
        for budget in budgets:
            whole(budget, f"--{name}")
    for schedule in settings.schedules:
        methods.levels(schedule, 4, 0.5)
    for method in settings.adaptive:
        methods.adaptive_of(method, 0.1, 0.5)
    for sampler in (*settings.samplers, *settings.noisy_samplers):
        made = ej.training.parse_sampler(sampler)
        plan = ej.make_plan(made, methods.levels(methods.GRIDS[0], 12, 0.5))
        if sampler in settings.samplers and plan.num_draws:
            raise ValueError(
                f"{sampler!r} draws noise, so it has no error against the flow: name it in "
                "--noisy-samplers, where distances are compared."
            )


def series_of(settings: Settings, target: Target) -> list[Series]:
    """All that is run on a target, the cheapest settings of each series first."""
    tolerances = tuple(10.0 ** -np.arange(1, 8.001, settings.tolerance_step))
    budgets = tuple(map(float, sorted(settings.budgets)))
    found = [Series("plan", *of, budgets) for of in product(settings.samplers, settings.schedules)]
    for method in settings.adaptive:
        form = "log_sigma" if "dpm" in method else "theta"
        found.append(Series("adaptive", method, form, tolerances))
    for solver, form in product(settings.solvers, settings.forms):
        for schedule in methods.GRIDS:
            found.append(Series("diffrax-fixed", solver, f"{form}, {schedule}", budgets))
        if solver != "Euler":  # has no error estimate
            found.append(Series("diffrax-adaptive", solver, form, tolerances))
    found.append(Series("exact", "exact", "", (0.0,)))
    budgets = tuple(map(float, sorted(settings.noisy_budgets)))
    for size in dict.fromkeys((0.0, settings.perturbation)):
        for of in product(settings.noisy_samplers, methods.GRIDS):
            found.append(Series("stochastic", *of, budgets, size))
        for solver in methods.SDE:
            found.append(Series("diffrax-sde", solver, "log_sigma", budgets, size))
    distances = target.law is not None and settings.distance_samples > 0
    kinds = [kind for kind in settings.kinds if distances or kind not in methods.STOCHASTIC]
    return [series for series in found if series.kind in kinds]
