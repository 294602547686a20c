"""The tables of a comparison, in Markdown."""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence

from edmjax.comparison.plots import envelope
from edmjax.comparison.results import Result
from edmjax.evaluation.report import markdown_table

ERRORS = (1e-2, 1e-3)
SHOWN = (5, 10, 20, 40, 100)  # of the budgets, where any of these were run
_NAMES = {"rms": "RMS", "median": "median"}
_SAID = {"rms": "an RMS error", "median": "a median error"}


def markdown(results: Sequence[Result], problems: Mapping[str, str]) -> str:
    """All tables. `problems` says which error each is judged by, "rms" or "median"."""
    parts = []
    for problem, error in problems.items():
        of = [r for r in results if r.problem == problem]
        parts += [f"## {problem}", *_budgets(of, error), *_reached(of, error), *_distances(of)]
    return "\n\n".join([*parts, *_ratios(results, problems)]) + "\n"


def cost_at(
    results: Iterable[Result], level: float, error: str, cost: str = "evaluations"
) -> float:
    """What an error of `level` costs: log-log interpolation along the lower envelope of results.

    NaN where it is not reached, or where the cheapest run is below it already.
    """
    points = envelope((getattr(r, cost), getattr(r, error)) for r in results)
    for (n0, e0), (n1, e1) in itertools.pairwise(points):
        if e0 >= level > e1:
            return n0 * (n1 / n0) ** (math.log(level / e0) / math.log(e1 / e0))
    return math.nan


def _solver(result: Result) -> str:
    name = f"`{result.method}`"
    return f"diffrax {name}" if result.kind.startswith("diffrax") else name


def _budgets(results: Sequence[Result], error: str) -> list[str]:
    """Fixed steps: for each solver and budget the best of its schedules or forms."""
    fixed = [r for r in results if r.kind in ("plan", "diffrax-fixed")]
    if not fixed:
        return []
    fixed = [r for r in fixed if r.setting in SHOWN] or fixed
    return [
        "Fixed steps, by the budget of evaluations: RMS / median / share in another mode, of the "
        f"schedule (of diffrax: the form and schedule) whose {_NAMES[error]} error is least.",
        markdown_table(_best(fixed, "fixed steps", error, _errors)),
    ]


def _best(
    results: Sequence[Result], head: str, error: str, cell: Callable[[Result], str]
) -> list[list[str]]:
    """A line for each solver: the cells of its best result at each budget."""
    budgets = sorted({r.setting for r in results})
    lines = [[head, *(f"{budget:g}" for budget in budgets)]]
    for solver in dict.fromkeys(map(_solver, results)):
        lines.append([solver])
        for budget in budgets:
            # A budget that buys no more steps than one before it has no result of its own.
            among = [r for r in results if (_solver(r), r.setting) == (solver, budget)]
            best = min(among, key=operator.attrgetter(error), default=None)
            lines[-1].append("" if best is None else cell(best))
    return lines


def _errors(result: Result) -> str:
    name = result.path.split("(")[0]
    return f"{result.rms:.1e} / {result.median:.1e} / {100 * result.diverged:.3g} % {name}"


def _reached(results: Sequence[Result], error: str) -> list[str]:
    """Evaluations at an error, of adaptive solvers and of the best of all plans."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for r in results:
        if r.kind in ("plan", "adaptive", "diffrax-adaptive"):
            of = ("the best of the plans", "") if r.kind == "plan" else (_solver(r), r.path)
            groups.setdefault(of, []).append(r)
    if not groups:
        return []
    levels = [cell for level in ERRORS for cell in (f"at {level:g}", "most", "seconds")]
    lines = [["solver", "form", *levels, "compile, s"]]
    for (solver, form), group in groups.items():
        cells = [
            _cost(group, level, error, cost)
            for level in ERRORS
            for cost in ("evaluations", "evaluations_max", "seconds")
        ]
        compiling = sorted(r.compile_seconds for r in group)[len(group) // 2]
        lines.append([solver, form, *cells, f"{compiling:.2f}"])
    return [
        "Evaluations (mean over samples, and the most of one) and seconds for "
        f"{_SAID[error]} of 1e-2 and 1e-3.",
        markdown_table(lines),
    ]


def _cost(results: Sequence[Result], level: float, error: str, cost: str) -> str:
    digits = ".2g" if cost == "seconds" else ".0f"
    cheapest = envelope((getattr(r, cost), getattr(r, error)) for r in results)[:1]
    if cheapest and cheapest[0][1] <= level:
        return f"< {cheapest[0][0]:{digits}}"
    found = cost_at(results, level, error, cost)
    return "-" if math.isnan(found) else f"{found:{digits}}"


def _distances(results: Sequence[Result]) -> list[str]:
    """Distances of samples: for each sampler and budget the best of its schedules."""
    parts, exact = [], [r for r in results if r.kind == "exact"]
    noisy = [r for r in results if r.kind in ("stochastic", "diffrax-sde")]
    for size in sorted({r.perturbation for r in noisy}):
        of = [r for r in noisy if r.perturbation == size]
        lines = _best(of, "sampler", "sliced_w2", _distance)
        lines += [["exact samples", *[_distance(r)] * (len(lines[0]) - 1)] for r in exact]
        what = "the exact denoiser" if size == 0 else f"a denoiser whose F is off by {size:g}"
        parts += [
            f"Samples with {what}, by the budget of evaluations: sliced Wasserstein-2 distance and "
            "energy distance from exact samples with their standard errors, of the schedule where "
            "the former is least.",
            markdown_table(lines),
        ]
    return parts


def _distance(result: Result) -> str:
    w2 = f"{result.sliced_w2:.3g} ± {result.sliced_w2_error:.1g}"
    energy = f"{result.energy:.2g} ± {result.energy_error:.1g}"
    return f"{w2}, {energy} {result.path}".strip()


def _ratios(results: Sequence[Result], problems: Mapping[str, str]) -> list[str]:
    """Evaluations in theta over those in the other forms, at the tightest of `ERRORS`."""
    adaptive = [r for r in results if r.kind == "diffrax-adaptive"]
    lines = [["diffrax", "problem", "error", "theta", "sigma", "ratio", "log_sigma", "ratio"]]
    solvers = dict.fromkeys(r.method for r in adaptive)
    for method, (problem, error) in itertools.product(solvers, problems.items()):
        of = [r for r in adaptive if (r.problem, r.method) == (problem, method)]
        theta, *others = (
            cost_at([r for r in of if r.path == form], ERRORS[-1], error)
            for form in ("theta", "sigma", "log_sigma")
        )
        cells = [f"{theta:.0f}"]
        for cost in others:
            cells += [f"{cost:.0f}", f"{theta / cost:.2f}"]
        if set(cells) != {"nan"}:
            cells = ["-" if cell == "nan" else cell for cell in cells]
            lines.append([f"`{method}`", problem, _NAMES[error], *cells])
    if len(lines) == 1:
        return []
    return [
        "## Forms",
        "Evaluations of diffrax's adaptive solvers at an error of 1e-3, by form.",
        markdown_table(lines),
    ]
