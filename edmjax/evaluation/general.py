"""Everything that is measured of a network of any data, and of its samples."""

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import edmjax as ej
from edmjax import training
from edmjax.evaluation import losses, quality, results
from edmjax.evaluation.amounts import Amounts
from edmjax.evaluation.bits import image_bits
from edmjax.evaluation.budgets import Method, parse_methods, plan_of
from edmjax.evaluation.distances import Neighbours, make_nearest
from edmjax.evaluation.features import MOST_NUMBERS, Features, load_features
from edmjax.evaluation.losses import LevelLoss, Mean
from edmjax.evaluation.parts import Part, load_parts
from edmjax.evaluation.report import Table, claim, progress_bar, setup
from edmjax.evaluation.subject import PAPER, Network, load_network

LEAST = 16  # samples of a set: distances are means over eight groups of two or more
SEEN_AT_ONCE = 2**27  # numbers of training samples that lie on the device at once


class Run:
    """One evaluation: the network, its data, and how samples are compared.

    Raises:
        ValueError: there are no such data or features, or too few samples.
        OSError: a file is missing.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        amounts: Amounts,
        *,
        data: str | None,
        test: str | None,
        data_dir: str | os.PathLike[str] | None,
        features: str | None,
    ):
        self.network: Network = load_network(checkpoint)
        trained = self.network.trained
        options: dict[str, Any] = {"data": data, "test": test, "data_dir": data_dir}
        train, held = load_parts(self.network.config, trained, **options)
        self.train: Part = train
        self.held: Part | None = held
        methods = [method for text in amounts.samplers for method in parse_methods(text)]
        levels = self.network.subject.levels
        ends = {name: getattr(levels, name) for name in ("sigma_data", "sigma_min", "sigma_max")}
        ends |= self.network.subject.schedule
        self.plans: dict[Method, ej.Plan] = {m: plan_of(m, levels, **ends) for m in methods}
        self.features: Features | None = load_features(features, trained)
        number = min(amounts.num_samples, len(self.train))
        if number < LEAST:
            raise ValueError(
                f"Sets of {number} samples are too few to compare, {LEAST} are the least: there "
                f"are {len(self.train)} training samples, and --num-samples is "
                f"{amounts.num_samples}."
            )
        self.amounts: Amounts = amounts._replace(num_samples=number)
        self.width: int | None = None
        if self.features is not None:
            self.width = self.features.of_part(self.train.take(np.arange(2))).shape[1]
        self.figures: list[str] = self._figures()
        self.without: list[str] = self._left_out(amounts.num_samples)
        # A best denoiser is known of data that the network is told nothing of, or their class.
        exact = len(self.train) * self.train.numbers <= SEEN_AT_ONCE
        self.best: bool = exact and trained.conditions is None

    def _figures(self) -> list[str]:
        names = ["sliced_wasserstein", "energy"]
        if self.width is not None:
            names += ["c2st", "precision", "recall"]
            names += ["frechet"] if self.width < self.amounts.num_samples else []
        return [name for name in quality.SET_FIGURES if name in names or name in quality.NEAREST]

    def _left_out(self, asked: int) -> list[str]:
        """A sentence for each figure that cannot be had, and what to do."""
        number, said = self.amounts.num_samples, []
        if asked > number:
            said.append(f"There are {number} training samples, so sets have {number}, not {asked}.")
        if self.held is None:
            said.append(
                "No samples are known that the network has not seen, so there are no losses of "
                "such and no line for them: name some with --test, or train with held_out."
            )
        elif len(self.held) < number:
            said.append(
                f"{len(self.held)} samples were held out, fewer than the {number} of a set, so "
                f"there is no line for them: --num-samples {len(self.held)} gives one."
            )
        if self.width is None:
            said.append(
                f"A sample has {self.train.numbers} numbers, more than {MOST_NUMBERS}, so that "
                "they are not compared themselves: without features there are no classifier "
                "two-sample test, Fréchet distance, precision and recall. Pass a function of your "
                "own, --features package.module:function."
            )
        elif "frechet" not in self.figures:
            said.append(
                f"Sets of {number} samples are too few for a Fréchet distance of {self.width} "
                "features, which needs more samples than features: raise --num-samples."
            )
        return said


def evaluate_any(
    checkpoint: str | os.PathLike[str],
    out: Path,
    amounts: Amounts,
    *,
    data: str | None = None,
    test: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    features: str | None = None,
    chunk_size: int = 500,
    mesh: Mesh | None = None,
) -> str:
    """`evaluate` for a network of any data; `data` and `test` as for `load_parts`."""
    run = Run(checkpoint, amounts, data=data, test=test, data_dir=data_dir, features=features)
    claim(out / "evaluation.json", _configuration(run, data, test), out / "summary.csv")
    about = {} if run.features is None else run.features.about
    claim(out / "features.json", about, out / "samples.csv")
    for sentence in run.without:
        warnings.warn(sentence, training.TrainingWarning, stacklevel=2)

    summary = Table(out / "summary.csv", {"figure": str, "value": float, "error": float}, 1)
    _measure_network(summary, run)
    levels = _measure_levels(out / "levels.csv", run)
    results.draw_levels(levels, out / "levels.png")
    columns = results.SAMPLE_COLUMNS | dict.fromkeys(run.figures, float)
    samples = Table(out / "samples.csv", columns, 4)
    _measure_samples(samples, run, chunk_size, mesh)
    qualities = results.over_seeds(samples.rows.values(), run.figures)
    results.write_quality(qualities, out / "quality.csv")
    panels = {name: results.TITLES[name] for name in results.TITLES if name in run.figures}
    results.draw_quality(qualities, out / "quality.png", dict([*panels.items()][:4]))
    means = {name: Mean(row["value"], row["error"]) for (name,), row in summary.rows.items()}
    shown = [name for name in (*results.TITLES, "copied", "distance_50") if name in run.figures]
    text = results.markdown(
        means, levels, qualities, what="samples", shown=shown, said=quality.SET_FIGURES
    )
    (out / "evaluation.md").write_text(text, encoding="utf-8")
    return text


def _configuration(run: Run, data: str | None, test: str | None) -> dict[str, Any]:
    """What all results of a directory have in common."""
    counts = {k: v for k, v in run.amounts._asdict().items() if k not in ("seeds", "samplers")}
    names = {"data": run.train.dataset.name, "samples": len(run.train), "test": test}
    return counts | names | {"checkpoint_sha256": run.network.subject.sha256} | setup()


def _parts(run: Run) -> dict[str, Part]:
    """The parts of the data by the names that results have."""
    return {"training": run.train} | ({} if run.held is None else {"held-out": run.held})


def _measure_network(summary: Table, run: Run) -> None:
    """The loss on each part, and the bits per dimension of bytes."""
    subject, amounts = run.network.subject, run.amounts
    options = subject.own or PAPER | {"sigma_data": subject.levels.sigma_data}
    text = ", ".join(f"{value:g}" for value in options.values())
    for split, part in _parts(run).items():
        name = f"loss on {split} samples, sigma_data, p_mean, p_std: {text}"
        if not summary.get(name):
            some = part.some(amounts.loss_images)
            with progress_bar(name.split(",")[0], 8 * len(some)) as bar:
                images, cond = some.seen(), some.given()
                mean = losses.mean_loss(
                    subject.denoise, images, cond=cond, progress=bar.update, **options
                )
            summary.add(name, *mean)
    units = run.train.trained.units
    # Of bytes alone it is known how fine they are.
    bytes_ = units is not None and units.as_stored and units.high == 255
    name = "bits per dimension"
    if bytes_ and run.held is not None and not summary.get(name):
        some = run.held.some(amounts.bits_images)
        with progress_bar(name, len(some), "sample") as bar:
            bits = image_bits(
                subject.denoise,
                some.seen(),
                sigma_min=subject.levels.sigma_min,
                sigma_max=subject.levels.sigma_max,
                cond=some.given(),
                progress=bar.update,
            )
        summary.add(name, *losses.mean_of(bits))


def _measure_levels(path: Path, run: Run) -> dict[str, list[LevelLoss]]:
    """The loss by noise level on each part, where it is known against the best denoiser."""
    rows = results.levels_table(path)
    subject, amounts = run.network.subject, run.amounts
    low, high = subject.levels.sigma_min, subject.levels.sigma_max
    sigmas = [float(f"{sigma:.4g}") for sigma in np.geomspace(low, high, amounts.num_levels)]
    missing = {s: [at for at in sigmas if not rows.get(s, at)] for s in _parts(run)}
    if any(missing.values()):
        best = None
        if run.best:
            labels = run.train.given()
            best = losses.best_denoiser(run.train.seen(), labels)
        total = sum(
            min(len(part), amounts.level_images) * len(missing[split])
            for split, part in _parts(run).items()
        )
        with progress_bar("loss by level", total, "sample") as bar:
            for split, part in _parts(run).items():
                some = part.some(amounts.level_images)
                for found in losses.level_losses(
                    subject.denoise,
                    best,
                    some.seen(),
                    missing[split],
                    sigma_data=subject.schedule["sigma_data"],
                    training_images=split == "training",
                    cond=some.given(),
                    progress=bar.update,
                ):
                    rows.add(split, found.sigma, *found.network, *found.best, *found.excess)
    return results.levels_of(rows, _parts(run), sigmas)


def _measure_samples(rows: Table, run: Run, chunk_size: int, mesh: Mesh | None) -> None:
    """Held-out samples and drawn ones, against as many training samples: others for every seed."""
    n, trained, held = run.amounts.num_samples, run.network.trained, run.held
    methods: dict[Method, ej.Plan | None] = {**run.plans}
    if held is not None and len(held) >= n:
        methods = {Method(results.HELD_OUT, "", 0): None} | methods
    jobs = [
        (seed, method, plan)
        for seed in range(run.amounts.seeds)
        for method, plan in methods.items()
        if not rows.get(*method, seed)
    ]
    if not jobs:
        return
    nearest = _nearest(run.train)
    draw = functools.partial(
        training.draw,
        trained.denoise,
        image_shape=trained.image_shape,
        num_samples=n,
        chunk_size=chunk_size,
        mesh=mesh,
        clip=trained.clip,
    )
    with progress_bar("samples", n * sum(plan.nfe for _, _, plan in jobs if plan)) as bar:
        for seed, method, plan in jobs:
            rng = np.random.default_rng(seed)
            real = run.train.take(rng.choice(len(run.train), n, replace=False))
            if plan is None:
                assert held is not None
                made = held.take(rng.choice(len(held), n, replace=False)).seen()
            else:
                # Each sample is drawn for the class or the condition of a training sample.
                asked = run.train.take(np.random.default_rng(seed).choice(len(run.train), n))
                cond = asked.given()
                plain = cond is None or isinstance(cond, np.ndarray)
                told: dict[str, Any] = {"labels" if plain else "cond": cond}
                made = draw(plan, seed=seed, on_chunk=bar.update, **told)
            figures = quality.set_figures(
                made,
                real.seen(),
                nearest,
                run.features and (run.features.of(made), run.features.of_part(real)),
                run.figures,
                jax.random.key(seed),
            )
            rows.add(*method, seed, 0 if plan is None else plan.nfe, *figures.values())


def _nearest(train: Part) -> Callable[[np.ndarray], Neighbours]:
    """The distances to the nearest two training samples, of which a part is looked at at once."""
    size = max(2, SEEN_AT_ONCE // train.numbers)
    if len(train) <= size:
        return make_nearest(train.seen())
    parts = np.array_split(np.arange(len(train)), -(-len(train) // size))

    def nearest(images: np.ndarray) -> Neighbours:
        found = [make_nearest(train.take(part).seen())(images) for part in parts]
        both = np.sort(np.stack([v for near in found for v in near]), axis=0)
        return Neighbours(both[0], both[1])

    return nearest
