"""Runs what is compared, times it and writes a row for each run."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import edmjax as ej
from edmjax.cli.comparison import methods, plans
from edmjax.cli.comparison.methods import Run, Series
from edmjax.cli.comparison.plans import Plans
from edmjax.cli.comparison.rows import Key, Row, Table, errors
from edmjax.cli.comparison.targets import HIGH, LOW, Target, reference

LIMIT = 400  # evaluations beyond which tighter tolerances are not tried
GROUPS = 8  # of samples, for the error bars of distances


class Stopwatch:
    """Times runs; remembers the compile time of each program."""

    def __init__(self):
        self.compiling: dict[Any, float] = {}

    def __call__(self, run: Run) -> tuple[Any, float, float]:
        """(what the run returns, its seconds, the seconds of its program's compilation)."""
        cold = None
        if run.program not in self.compiling:
            cold = _clock(run.call)[1]
        result, seconds = _clock(run.call)
        for _ in range(2 if seconds < 0.1 else 0):
            seconds = min(seconds, _clock(run.call)[1])
        if cold is not None:
            self.compiling[run.program] = max(cold - seconds, 0.0)
        return result, seconds, self.compiling[run.program]


def _clock(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    return result, time.perf_counter() - start


class Comparison:
    """All runs on one target, of the `series`."""

    def __init__(
        self,
        target: Target,
        series: Sequence[Series],
        table: Table,
        out: Path,
        distance_samples: int,
        seed: int,
    ):
        self.target, self.table, self.seed = target, table, seed
        self.stopwatch = Stopwatch()
        cached = out / f"reference_{target.name}.npz"
        self.reference = reference(target, cached)
        self.starts = self.exact = None
        if target.law is not None and distance_samples:
            key = jax.random.key(seed + 1)
            starts, exact = jax.random.split(key)
            distance_samples = int(distance_samples * target.share)
            self.starts = target.law.sample(starts, distance_samples, sigma=HIGH)
            self.exact = target.law.sample(exact, distance_samples, sigma=LOW)
        self.plans = Plans(series, target, self.starts, seed + 2)

    def run(self, series: Series, bar: tqdm) -> None:
        """Every setting of a series that has no row yet, until one took too many evaluations."""
        bar.set_postfix_str(f"{self.target.name} {series.method} {series.path}"[:50])
        for i, setting in enumerate(series.settings):
            key = Key(
                self.target.name,
                series.kind,
                series.method,
                series.path,
                setting,
                series.perturbation,
            )
            row = self.table.get(key)
            if row is None:
                row = self._row(key, series)
                if row is not None:
                    self.table.add(row)
            if row is not None and not row.evaluations <= LIMIT:
                bar.update(len(series.settings) - i)
                break
            bar.update()

    def _row(self, key: Key, series: Series) -> Row | None:
        noisy = series.kind in methods.STOCHASTIC
        if series.kind in plans.KINDS:
            run = self.plans.run(series, key.setting)
        else:
            x = self.starts if noisy else self.target.x
            run = methods.prepare(series, key.setting, self.target, x, self.seed + 2)
        if run is None:
            return None
        try:
            (x0, evaluations), seconds, compiling = self.stopwatch(run)
        except RuntimeError as error:
            # A solver that does not arrive has a row that says so: infinite error.
            tqdm.write(f"{self.target.name} {series.method} {series.path} {key.setting:g}: {error}")
            infinite = {"rms": math.inf, "median": math.inf, "diverged": 1.0}
            return Row(*key, evaluations=math.nan, evaluations_max=math.nan, **infinite)
        found = self._distances(x0) if noisy else self._errors(x0)
        return Row(
            *key,
            evaluations=float(np.mean(evaluations)),
            evaluations_max=float(np.max(evaluations)),
            seconds=seconds,
            compile_seconds=compiling,
            **found,
        )

    def _errors(self, x0: Any) -> dict[str, float]:
        return errors(x0, self.reference, self.target.sigma_data)

    def _distances(self, x0: Any) -> dict[str, float]:
        key = jax.random.key(self.seed + 3)
        w2 = ej.metrics.sliced_wasserstein(x0, self.exact, key, num_groups=GROUPS)
        energy = ej.metrics.energy_distance(x0, self.exact, num_groups=GROUPS)
        return {
            "sliced_w2": float(w2.value),
            "sliced_w2_error": float(w2.standard_error),
            "energy": float(energy.value),
            "energy_error": float(energy.standard_error),
        }
