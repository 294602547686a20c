"""What is run on each target: the defaults of the command, and the series that they make."""

import argparse

import numpy as np

from edmjax.cli.comparison import methods
from edmjax.cli.comparison.methods import Series
from edmjax.cli.comparison.targets import Target

SAMPLERS = (
    "euler",
    "heun",
    "dpm_2",
    "dpmpp_2s",
    "dpmpp_2m",
    "dpmpp_3m(corrected=True)",
    "unipc(order=2)",
    "unipc(order=3)",
    "deis",
    "ipndm(order=3)",
    "lms",
)
SCHEDULES = ("karras", "exponential", "cosine", "logistic")
NOISY = (
    "euler_maruyama",
    "ancestral(euler)",
    "dpmpp_sde",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "sa_solver",
    "er_sde",
    "churn(heun, s_churn=20, s_min=0.05, s_max=50, s_noise=1.003)",
    "restart(heun, [(0.05, 2.0, 3, 1)])",
    "heun",
    "unipc(order=2)",
)
BUDGETS = (5, 6, 8, 10, 15, 20, 30, 40, 60, 100)
NOISY_BUDGETS = (10, 20, 40)
ADAPTIVE = ("adaptive(order=2)", "adaptive(order=3)", "adaptive(order=4)", "dpm_adaptive(order=3)")

# By option of the command line, where it is not given.
FULL = {
    "problems": ["P1", "P2", "P3"],
    "kinds": list(methods.KINDS),
    "samplers": list(SAMPLERS),
    "schedules": list(SCHEDULES),
    "budgets": list(BUDGETS),
    "adaptive": list(ADAPTIVE),
    "solvers": list(methods.SOLVERS),
    "forms": list(methods.FORMS),
    "noisy_samplers": list(NOISY),
    "noisy_budgets": list(NOISY_BUDGETS),
    "samples": 512,
    "distance_samples": 2048,
    "tolerance_step": 0.5,
}
QUICK = FULL | {
    "kinds": ["plan", "adaptive", "diffrax-adaptive", "stochastic", "exact"],
    "samplers": ["heun", "dpmpp_2m", "unipc(order=2)"],
    "schedules": ["karras", "logistic"],
    "budgets": [6, 10, 20, 40],
    "adaptive": ["adaptive(order=3)"],
    "solvers": ["Bosh3", "Tsit5"],
    "forms": ["theta", "sigma"],
    "noisy_samplers": ["euler_maruyama", "sa_solver", "unipc(order=2)"],
    "noisy_budgets": [20],
    "samples": 64,
    "distance_samples": 512,
    "tolerance_step": 1.0,
}


def series_of(args: argparse.Namespace, target: Target) -> list[Series]:
    """All that is run on a target, the cheapest settings of each series first."""
    tolerances = tuple(10.0 ** -np.arange(1, 8.001, args.tolerance_step))
    budgets = tuple(map(float, args.budgets))
    found = [
        Series("plan", sampler, schedule, budgets)
        for sampler in args.samplers
        for schedule in args.schedules
    ]
    found += [
        Series("adaptive", method, "log_sigma" if "dpm" in method else "theta", tolerances)
        for method in args.adaptive
    ]
    found += [
        Series("diffrax-fixed", solver, f"{form}, {schedule}", budgets)
        for solver in args.solvers
        for form in args.forms
        for schedule in methods.GRIDS
    ]
    found += [
        Series("diffrax-adaptive", solver, form, tolerances)
        for solver in args.solvers
        for form in args.forms
        if solver != "Euler"  # has no error estimate
    ]
    found.append(Series("exact", "exact", "", (0.0,)))
    budgets = tuple(map(float, args.noisy_budgets))
    for size in dict.fromkeys((0.0, args.perturbation)):
        found += [
            Series("stochastic", sampler, schedule, budgets, size)
            for sampler in args.noisy_samplers
            for schedule in methods.GRIDS
        ]
        found += [
            Series("diffrax-sde", solver, "log_sigma", budgets, size) for solver in methods.SDE
        ]
    distances = target.law is not None and args.distance_samples > 0
    kinds = [kind for kind in args.kinds if distances or kind not in methods.STOCHASTIC]
    return [series for series in found if series.kind in kinds]
