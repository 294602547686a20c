"""Runs what is compared, times it, and writes the results as they come."""

import functools
import math
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import diffrax
import jax
import numpy as np
from jaxtyping import Array
from tqdm import tqdm

import edmjax as ej
from edmjax.comparison import methods, plots, tables
from edmjax.comparison.methods import Run, Series
from edmjax.comparison.plans import plan_runs, plans_of
from edmjax.comparison.results import NUM_KEYS, Result, errors
from edmjax.comparison.settings import GROUPS, Settings, check, series_of
from edmjax.comparison.targets import HIGH, LOW, Target, problem, reference, trained
from edmjax.evaluation.report import Table, claim, setup

LIMIT = 400  # evaluations beyond which tighter tolerances are not tried


def compare(settings: Settings, out: str | Path) -> list[Result]:
    """Runs every solver on every problem, and returns the results; all of it is float64.

    The directory `out` receives `compare.csv` with a line for each run, `compare.md` with the
    tables, and `compare.png` and `compare.svg` with the plots. Runs whose results it already has
    are not repeated.

    Raises:
        ValueError: the settings cannot be run, or `out` has results that would not compare; nothing
            has been written.
        OSError: `out` cannot be written.
    """
    out = Path(out)
    with jax.enable_x64(True):
        check(settings)
        targets = [problem(name, settings.samples, settings.seed) for name in settings.problems]
        targets += [trained(p, settings.samples, settings.seed) for p in settings.checkpoint]
        work = [(target, series_of(settings, target)) for target in targets]
        total = sum(len(one.settings) for _, series in work for one in series)
        if not total:
            raise ValueError(
                "These options leave no method to run: name --kinds that the problems have."
            )
        claim(out / "compare.json", _configuration(settings), out / "compare.csv")
        table = Table(out / "compare.csv", get_type_hints(Result), NUM_KEYS)
        with tqdm(total=total, unit="run") as bar:
            for target, series in work:
                bar.set_postfix_str(f"{target.name}, its reference")  # minutes for a network
                comparison = Comparison(target, series, table, settings)
                for one in series:
                    bar.set_postfix_str(f"{target.name} {one.method} {one.path}"[:50])
                    comparison.run(one, bar.update)
                jax.clear_caches()  # no other target uses the programs of this one
    judged_by = {target.name: target.judged_by for target in targets}
    results = [Result(**row) for row in table.rows.values()]
    (out / "compare.md").write_text(tables.markdown(results, judged_by), encoding="utf-8")
    plots.draw(results, judged_by, out / "compare.png")
    return results


def _configuration(settings: Settings) -> dict[str, Any]:
    """What all results of a file must have in common to be compared."""
    counts = {name: getattr(settings, name) for name in ("samples", "distance_samples", "seed")}
    return counts | {"diffrax": diffrax.__version__} | setup()


def _clock(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    return result, time.perf_counter() - start


class Comparison:
    """All runs on one target, of the `series`."""

    def __init__(self, target: Target, series: Sequence[Series], table: Table, settings: Settings):
        self.target: Target = target
        self.series: Sequence[Series] = series
        self.table: Table = table
        self.seed: int = settings.seed
        self.compiling: dict[Hashable, float] = {}  # seconds, of each program
        cached = table.path.with_name(f"reference_{target.name}.npz")
        self.reference: np.ndarray = reference(target, cached)
        self.starts: Array = target.x  # not used where there are no exact samples
        self.exact: Array = target.x
        if target.law is not None and settings.distance_samples:
            starts, exact = jax.random.split(jax.random.key(self.seed + 1))
            num_samples = int(settings.distance_samples * target.share)
            self.starts = target.law.sample(starts, num_samples, sigma=HIGH)
            self.exact = target.law.sample(exact, num_samples, sigma=LOW)

    @functools.cached_property  # where all have results, none is made
    def plans(self) -> dict[tuple[Series, float], Run]:
        """The runs of plans."""
        return plan_runs(self.series, self.target, self.starts, self.seed + 2)

    def run(self, series: Series, progress: Callable[[int], object]) -> None:
        """Every setting of a series that has no result yet, until one took too many evaluations."""
        of = self.target.name, series.kind, series.method, series.path
        for i, setting in enumerate(series.settings):
            key = (*of, setting, series.perturbation)
            if self.table.get(*key) is None and (result := self._result(key, series)):
                self.table.add(*result)
            row = self.table.get(*key)
            if row is not None and not row["evaluations"] <= LIMIT:
                progress(len(series.settings) - i)
                break
            progress(1)

    def _result(self, key: tuple[Any, ...], series: Series) -> Result | None:
        setting, noisy, run = key[4], series.kind in methods.STOCHASTIC, None
        if series.kind in methods.PREPARE:
            x = self.starts if noisy else self.target.x
            run = methods.PREPARE[series.kind](series, setting, self.target, x, self.seed + 2)
        elif setting in plans_of(series, self.target.sigma_data):
            run = self.plans[series, setting]
        if run is None:
            return None
        try:
            (x0, evaluations), seconds = self._timed(run)
        except RuntimeError as error:
            # A solver that does not arrive has a row that says so: infinite error.
            tqdm.write(f"{self.target.name} {series.method} {series.path} {setting:g}: {error}")
            infinite = {"rms": math.inf, "median": math.inf, "diverged": 1.0}
            return Result(*key, evaluations=math.nan, evaluations_max=math.nan, **infinite)
        found = self._distances(x0) if noisy else errors(x0, self.reference, self.target.sigma_data)
        return Result(
            *key,
            evaluations=float(np.mean(evaluations)),
            evaluations_max=float(np.max(evaluations)),
            seconds=seconds,
            compile_seconds=self.compiling[run.program],
            **found,
        )

    def _timed(self, run: Run) -> tuple[tuple[Array, Array | int], float]:
        """What the run returns, and its seconds; keeps those of its program's compilation."""
        cold = None if run.program in self.compiling else _clock(run.call)[1]
        result, seconds = _clock(run.call)
        for _ in range(2 if seconds < 0.1 else 0):
            seconds = min(seconds, _clock(run.call)[1])
        if cold is not None:
            self.compiling[run.program] = max(cold - seconds, 0.0)
        return result, seconds

    def _distances(self, x0: Array) -> dict[str, float]:
        key = jax.random.key(self.seed + 3)
        w2 = ej.metrics.sliced_wasserstein(x0, self.exact, key, num_groups=GROUPS)
        energy = ej.metrics.energy_distance(x0, self.exact, num_groups=GROUPS)
        names = ("sliced_w2", "sliced_w2_error", "energy", "energy_error")
        return dict(zip(names, map(float, (*w2, *energy)), strict=True))
