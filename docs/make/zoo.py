"""Runs every published plan on P1, P2 and P3 and writes the tables of docs/zoo.md.

    python docs/make/zoo.py --samples 128    # measures, and keeps the errors in docs/zoo_errors.csv
    python docs/make/zoo.py                  # from the errors that docs/ holds

Between `<!-- sources -->` and `<!-- end -->` stand the families with their sources, between
`<!-- transfer -->` and `<!-- end -->` their errors over those of others, between `<!-- errors -->`
and `<!-- end -->` the errors of each plan. Every plan starts where its own grid starts, at an exact
sample of that level, and its end is compared with where the flow takes that start by the last level
of the grid, in float64: 100 steps of the classical Runge-Kutta method in log sigma, which are
within 2e-6 (RMS) of 400. A flow starts at pure noise, which is sigma 2^20 here. Beside it are
DPM++(2M) and `ej.recommend` with as many evaluations between the same two levels, from 80 where the
plan starts at pure noise.
"""

import argparse
import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from few_problems import widths_of
from jax import lax

import edmjax as ej

DOCS = Path(__file__).parents[1]
PROBLEMS = ("P1", "P2", "P3")
# For each problem and plan its RMS error, that of DPM++(2M) and that of `recommend`.
Rows: TypeAlias = dict[str, dict[str, list[float]]]
# Pure noise, the level at which a baseline starts then, and the level before a last step to 0.
NOISE, HIGH, LOW = 2.0**20, 80.0, 0.002
STEPS = 100


def run(denoise: Callable[..., Any], plan: ej.Plan, x: np.ndarray) -> np.ndarray:
    """The rows of a plan in NumPy: no compilation a plan."""
    points, outputs = [x], []
    scale = np.ones(plan.nfe + 1) if plan.scale is None else np.asarray(plan.scale)
    for k in range(plan.nfe + 1):
        point = np.zeros_like(x)
        for weights, vectors in ((plan.y, points), (plan.d, outputs)):
            for j in np.flatnonzero(weights[k]):
                point += weights[k, j] * vectors[-1 - j]
        points.append(point)
        if k < plan.nfe:
            outputs.append(np.asarray(denoise(point / scale[k], plan.sigmas[k])))
    return points[-1] / scale[-1]


def flow_of(problem: Any) -> Callable[..., np.ndarray]:
    """Where the flow takes `x` from one level to another: dx / dlog(sigma) = x - D(x, sigma)."""

    def slope(x: Any, u: Any) -> Any:
        return x - problem.denoise(x, jnp.exp(u))

    @jax.jit
    def solve(x: Any, high: Any, low: Any) -> Any:
        step = jnp.log(low / high) / STEPS

        def advance(k: Any, x: Any) -> Any:
            u = jnp.log(high) + k * step
            a = slope(x, u)
            b = slope(x + step / 2 * a, u + step / 2)
            c = slope(x + step / 2 * b, u + step / 2)
            d = slope(x + step * c, u + step)
            return x + step / 6 * (a + 2 * b + 2 * c + d)

        return lax.fori_loop(0, STEPS, advance, x)

    def to(x: Any, high: float, low: float) -> np.ndarray:
        if low > 0:
            return np.asarray(solve(x, high, low))
        # Below 1e-4 all that is left is the noise of that level.
        return np.asarray(problem.denoise(solve(x, high, 1e-4), 1e-4))

    return to


def baselines(nfe: int, high: float, low: float, widths: tuple[float, float]) -> list[ej.Plan]:
    """DPM++(2M) on Karras' levels, and what `ej.recommend` returns for these widths."""
    zero, last = low == 0, low or LOW
    levels = ej.schedules.karras(nfe + (not zero), last, high, final_zero=zero)
    ends = {"sigma_min": last, "sigma_max": high, "final_zero": zero}
    pair = ej.recommend(nfe, sigma_data=widths[0], spread=widths[1], **ends)
    return [ej.make_plan(ej.samplers.dpmpp_2m(), levels), ej.make_plan(*pair)]


def measured(name: str, num_samples: int) -> dict[str, list[float]]:
    """For each plan its RMS error on this problem, that of DPM++(2M) and that of `recommend`."""
    problem = getattr(ej.problems, name)()
    denoise, flow, widths = jax.jit(problem.denoise), flow_of(problem), widths_of(problem)
    starts: dict[float, np.ndarray] = {}
    solved: dict[tuple[float, float], np.ndarray] = {}
    plain: dict[tuple[int, float, float], list[float]] = {}
    rows: dict[str, list[float]] = {}

    def error(plan: ej.Plan, x: np.ndarray, high: float, low: float) -> float:
        if (high, low) not in solved:
            solved[high, low] = flow(x, high, low)
        distance = run(denoise, plan, x if plan.scale is None else scaled(plan, x, high))
        return float(np.sqrt(np.mean((distance - solved[high, low]) ** 2)))

    def start(high: float) -> np.ndarray:
        if high not in starts:
            x = problem.sample(jax.random.key(2), num_samples, sigma=high)
            starts[high] = np.asarray(x, np.float64)
        return starts[high]

    for plan_name in ej.plans.names():
        plan = ej.plans.load(plan_name)
        first, low = float(plan.grid[0]), float(plan.grid[-1])
        high = NOISE if np.isinf(first) else first
        own = error(plan, start(high), high, low)
        ends = plan.nfe, (HIGH if np.isinf(first) else first), low
        if ends not in plain:
            made = baselines(*ends, widths)
            plain[ends] = [error(other, start(ends[1]), *ends[1:]) for other in made]
        rows[plan_name] = [own, *plain[ends]]
        print(name, plan_name, *(f"{value:.4g}" for value in rows[plan_name]))
    return rows


def scaled(plan: ej.Plan, x: np.ndarray, high: float) -> np.ndarray:
    """`x` at the level `high`, in the scale of the plan's process."""
    first = float(plan.grid[0])
    return x / high if np.isinf(first) else x * float(plan.scale[0])  # type: ignore[index]


def sources() -> list[str]:
    """A row for each family and source: how many plans, of what, from where."""
    found: dict[tuple[str, ...], Counter[str]] = {}
    for name in ej.plans.names():
        told = ej.plans.about(name)
        family, network, _ = name.split("/")
        repository, _, commit = told.source.split(", ")
        where = f"[{repository.split('github.com/')[1]}]({repository}), {commit}"
        paper = re.sub(r"arXiv:([\d.]+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", told.paper)
        found.setdefault((family, paper, where, told.licence), Counter())[network] += 1
    lines = ["| family | plans | networks | paper | numbers from | licence of the numbers |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for (family, paper, where, licence), networks in found.items():
        of = ", ".join(networks)
        lines.append(f"| `{family}` | {networks.total()} | {of} | {paper} | {where} | {licence} |")
    return lines


def errors(rows: Rows) -> list[str]:
    """A row for each plan; the smallest of three is bold."""
    lines = ["| plan | nfe | " + " | ".join(f"{p} | 2M | rec." for p in PROBLEMS) + " |"]
    lines.append("| --- | --- |" + " --- |" * 3 * len(PROBLEMS))
    for name in ej.plans.names():
        cells = [f"`{name}`", f"{ej.plans.about(name).nfe}"]
        for problem in PROBLEMS:
            values = rows[problem][name]
            shown = [f"{value:.2g}" for value in values]
            best = int(np.argmin(values))
            shown[best] = f"**{shown[best]}**"
            cells += shown
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def transfer(rows: Rows) -> list[str]:
    """For each family and network its errors over those of the two others, geometric means."""
    lines = ["| plans | number | " + " | ".join(f"{p} / 2M | {p} / rec." for p in PROBLEMS) + " |"]
    lines.append("| --- | --- |" + " --- |" * 2 * len(PROBLEMS))
    groups: dict[str, list[str]] = {}
    for name in ej.plans.names():
        groups.setdefault(name.rsplit("/", 1)[0], []).append(name)
    for group, names in groups.items():
        cells = [f"`{group}`", f"{len(names)}"]
        for problem in PROBLEMS:
            values = np.array([rows[problem][name] for name in names])
            ratios = np.exp(np.log(values[:, :1] / values[:, 1:]).mean(axis=0))
            cells += [f"{float(f'{ratio:.2g}'):g}" for ratio in ratios]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def read(path: Path) -> Rows:
    rows: Rows = {problem: {} for problem in PROBLEMS}
    with path.open(newline="") as file:
        for problem, name, *values in list(csv.reader(file))[1:]:
            rows[problem][name] = [float(value) for value in values]
    return rows


def write(path: Path, rows: Rows) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["problem", "plan", "error", "dpmpp_2m", "recommend"])
        for problem, plans in rows.items():
            for name, values in plans.items():
                writer.writerow([problem, name, *(f"{value:.4g}" for value in values)])


def main(argv: Sequence[str] | None = None, docs: Path = DOCS) -> None:
    parser = argparse.ArgumentParser(
        prog="zoo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, help="measure, with this many samples")
    num_samples, held = parser.parse_args(argv).samples, docs / "zoo_errors.csv"
    if num_samples is not None:
        jax.config.update("jax_enable_x64", True)
        write(held, {problem: measured(problem, num_samples) for problem in PROBLEMS})
    rows, page = read(held), docs / "zoo.md"
    text = page.read_text(encoding="utf-8")
    tables = {"sources": sources(), "transfer": transfer(rows), "errors": errors(rows)}
    for name, lines in tables.items():
        table = "\n".join(lines)
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda m, t=table: f"{m[1]}\n{t}\n\n{m[2]}", text, flags=re.S)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
