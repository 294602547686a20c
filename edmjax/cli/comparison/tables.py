"""The tables of a comparison, in Markdown."""

import itertools
import math
from collections.abc import Iterable, Sequence

from edmjax.cli.comparison.methods import STOCHASTIC
from edmjax.cli.comparison.plots import envelope
from edmjax.cli.comparison.rows import Row

ERRORS = (1e-2, 1e-3)
SHOWN = (5, 10, 20, 40, 100)  # of the budgets, where any of these were run
_NAMES = {"rms": "RMS", "median": "median"}


def markdown(rows: Sequence[Row], problems: dict[str, str]) -> str:
    """All tables. `problems` says which error each is judged by, "rms" or "median"."""
    parts = []
    for problem, error in problems.items():
        of = [row for row in rows if row.problem == problem]
        parts += [f"## {problem}", *_budgets(of, error), *_reached(of, error)]
        parts += _distances([row for row in of if row.kind in STOCHASTIC])
    return "\n\n".join([*parts, *_ratios(rows, problems)]) + "\n"


def cost_at(rows: Iterable[Row], level: float, error: str, cost: str = "evaluations") -> float:
    """What an error of `level` costs: log-log interpolation along the lower envelope of the rows.

    NaN where it is not reached, or where the cheapest run is below it already.
    """
    points = envelope((getattr(row, cost), getattr(row, error)) for row in rows)
    for (n0, e0), (n1, e1) in itertools.pairwise(points):
        if e0 >= level > e1:
            return n0 * (n1 / n0) ** (math.log(level / e0) / math.log(e1 / e0))
    return math.nan


def _budgets(rows: Sequence[Row], error: str) -> list[str]:
    """Fixed steps: for each method and budget the best of its schedules or forms."""
    fixed = [row for row in rows if row.kind in ("plan", "diffrax-fixed")]
    if not fixed:
        return []
    budgets = sorted({row.setting for row in fixed})
    budgets = [budget for budget in budgets if budget in SHOWN] or budgets
    lines = [["fixed steps", *(f"{budget:g}" for budget in budgets)]]
    for kind, method in dict.fromkeys((row.kind, row.method) for row in fixed):
        cells = []
        for budget in budgets:
            # A budget that buys no more steps than one before it has no row of its own.
            among = [r for r in fixed if (r.kind, r.method, r.setting) == (kind, method, budget)]
            best = min(among, key=lambda r: getattr(r, error), default=None)
            cells.append("" if best is None else _errors(best))
        lines.append([f"diffrax `{method}`" if kind == "diffrax-fixed" else f"`{method}`", *cells])
    return [
        "Fixed steps, by the budget of evaluations: RMS / median / share in another mode, of the "
        f"schedule (of diffrax: the form and schedule) whose {_NAMES[error]} error is least.",
        _table(lines),
    ]


def _errors(row: Row) -> str:
    name = row.path.split("(")[0]
    return f"{row.rms:.1e} / {row.median:.1e} / {100 * row.diverged:.3g} % {name}"


def _reached(rows: Sequence[Row], error: str) -> list[str]:
    """Evaluations at an error, of adaptive solvers and of the best of all plans."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.kind == "plan":
            groups.setdefault(("the best of the plans", ""), []).append(row)
        elif row.kind == "adaptive":
            groups.setdefault((f"`{row.method}`", row.path), []).append(row)
        elif row.kind == "diffrax-adaptive":
            groups.setdefault((f"diffrax `{row.method}`", row.path), []).append(row)
    if not groups:
        return []
    head = ["solver", "form"]
    for level in ERRORS:
        head += [f"at {level:g}", "most", "seconds"]
    lines = [[*head, "compile, s"]]
    for (method, form), group in groups.items():
        cells = []
        for level in ERRORS:
            for cost in ("evaluations", "evaluations_max", "seconds"):
                cells.append(_cost(group, level, error, cost))
        compiling = sorted(row.compile_seconds for row in group)[len(group) // 2]
        lines.append([method, form, *cells, f"{compiling:.2f}"])
    return [
        "Evaluations (mean over samples, and the most of one) and seconds for "
        f"{_said(error)} of 1e-2 and 1e-3.",
        _table(lines),
    ]


def _cost(rows: Sequence[Row], level: float, error: str, cost: str) -> str:
    digits = ".2g" if cost == "seconds" else ".0f"
    cheapest = envelope((getattr(row, cost), getattr(row, error)) for row in rows)[:1]
    if cheapest and cheapest[0][1] <= level:
        return f"< {cheapest[0][0]:{digits}}"
    found = cost_at(rows, level, error, cost)
    return "-" if math.isnan(found) else f"{found:{digits}}"


def _distances(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    parts = []
    for size in sorted({row.perturbation for row in rows if row.kind != "exact"}):
        of = [row for row in rows if row.perturbation == size and row.kind != "exact"]
        of += [row for row in rows if row.kind == "exact"]
        budgets = sorted({row.setting for row in of if row.kind != "exact"})
        lines = [["sampler", *(f"{budget:g}" for budget in budgets)]]
        for kind, method in dict.fromkeys((row.kind, row.method) for row in of):
            found: dict[float, Row] = {}
            for r in of:  # the best of the schedules
                if (r.kind, r.method) == (kind, method):
                    found[r.setting] = min(r, found.get(r.setting, r), key=lambda r: r.sliced_w2)
            if kind == "exact":
                (row,) = found.values()
                lines.append(["exact samples", *[_distance(row)] * len(budgets)])
                continue
            name = f"diffrax `{method}`" if kind == "diffrax-sde" else f"`{method}`"
            lines.append([name, *(_distance(found.get(budget)) for budget in budgets)])
        what = "the exact denoiser" if size == 0 else f"a denoiser whose F is off by {size:g}"
        parts += [
            f"Samples with {what}, by the budget of evaluations: sliced Wasserstein-2 distance and "
            "energy distance from exact samples with their standard errors, of the schedule where "
            "the former is least.",
            _table(lines),
        ]
    return parts


def _distance(row: Row | None) -> str:
    if row is None:
        return ""
    w2 = f"{row.sliced_w2:.3g} ± {row.sliced_w2_error:.1g}"
    energy = f"{row.energy:.2g} ± {row.energy_error:.1g}"
    return f"{w2}, {energy} {row.path}".strip()


def _ratios(rows: Sequence[Row], problems: dict[str, str]) -> list[str]:
    """Evaluations in theta over those in the other forms, at the tightest of `ERRORS`."""
    adaptive = [row for row in rows if row.kind == "diffrax-adaptive"]
    lines = [["diffrax", "problem", "error", "theta", "sigma", "ratio", "log_sigma", "ratio"]]
    for method in dict.fromkeys(row.method for row in adaptive):
        for problem, error in problems.items():
            of = [row for row in adaptive if (row.problem, row.method) == (problem, method)]
            at = {
                form: cost_at([row for row in of if row.path == form], ERRORS[-1], error)
                for form in ("theta", "sigma", "log_sigma")
            }
            cells = [f"{at['theta']:.0f}"]
            for form in ("sigma", "log_sigma"):
                cells += [f"{at[form]:.0f}", f"{at['theta'] / at[form]:.2f}"]
            if not all(math.isnan(value) for value in at.values()):
                cells = ["-" if cell == "nan" else cell for cell in cells]
                lines.append([f"`{method}`", problem, _NAMES[error], *cells])
    if len(lines) == 1:
        return []
    return [
        "## Forms",
        "Evaluations of diffrax's adaptive solvers at an error of 1e-3, by form.",
        _table(lines),
    ]


def _said(error: str) -> str:
    return {"rms": "an RMS error", "median": "a median error"}[error]


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body))
