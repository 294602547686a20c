"""What is measured of a network and its samples, written as it is known; here of MNIST's."""

import functools
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

import edmjax as ej
from edmjax import training
from edmjax.evaluation import losses, quality, results
from edmjax.evaluation.amounts import FULL, GENERAL, Amounts
from edmjax.evaluation.bits import image_bits
from edmjax.evaluation.budgets import Method, parse_methods, plan_of
from edmjax.evaluation.classifier import TrainedClassifier, load_classifier
from edmjax.evaluation.distances import frechet_distance, make_nearest
from edmjax.evaluation.general import evaluate_any
from edmjax.evaluation.losses import LevelLoss, Mean
from edmjax.evaluation.report import Table, claim, progress_bar, setup
from edmjax.evaluation.subject import PAPER, SHAPE, Images, Subject, load_images, load_subject
from edmjax.training.checkpoints import load_weights

NO_FEATURES = (
    "Without features of a classifier there are no Fréchet distance, precision, recall and shares "
    "of classes: train one with benchmarks/mnist/train_classifier.py of a checkout of edmjax, and "
    "pass its file with --features."
)


def evaluate(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    amounts: Amounts | None = None,
    *,
    features: str | os.PathLike[str] | None = None,
    data: str | None = None,
    test: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    chunk_size: int = 500,
    mesh: Mesh | None = None,
) -> str:
    """Measures a network and its samples, and returns the tables in Markdown.

    The directory `out` receives them and all figures (docs/evaluation.md). Results that it already
    has are not measured again. A `mesh` splits the samples over its devices; neither it nor
    `chunk_size` changes a sample.

    Args:
        checkpoint: the network's run, or its file of weights.
        out: the directory for results.
        amounts: how much is measured; None for `Amounts()`, with fewer samplers where the network
            is not one of MNIST.
        features: what samples are compared by: `package.module:function` or
            `inception=FILE.safetensors` (`evaluation.load_features`), and for MNIST the file of a
            classifier. None compares the numbers of small samples, and MNIST's by their pixels.
        data: the data in place of those that the network's file names, as for `load_dataset`.
        test: data of the same law that the network has not seen.
        data_dir: directory of the files of data that are built in.
        chunk_size: samples that are drawn at once.
        mesh: devices that share them.

    Raises:
        ValueError: there are no such data or features, a sampler or schedule does not exist, there
            are too few samples, or `out` has results that would not compare.
        OSError: a file is missing, or `out` cannot be written.
    """
    features = None if features is None else os.fspath(features)
    where: dict[str, Any] = {"data": data, "test": test, "features": features}
    amounts = default_amounts(checkpoint, **where) if amounts is None else amounts
    if _is_general(checkpoint, **where):
        options: dict[str, Any] = {"data_dir": data_dir, "chunk_size": chunk_size, "mesh": mesh}
        return evaluate_any(checkpoint, Path(out), amounts, **where, **options)
    if not 100 <= amounts.num_samples <= 10_000:
        raise ValueError(
            "--num-samples must be from 100 (a classifier has 64 features) to 10000 (the test "
            f"images that samples are compared with), got {amounts.num_samples}."
        )
    # Mistakes come to light now, and not when samples have been drawn for an hour.
    subject, out = load_subject(checkpoint), Path(out)
    methods = [method for text in amounts.samplers for method in parse_methods(text)]
    plans = {method: plan_of(method, subject.levels, **subject.schedule) for method in methods}
    train, unseen = (load_images(data_dir, split) for split in ("train", "test"))
    classifier = None if features is None else load_classifier(features)
    # The samples of a classifier have a table of their own: others have fewer figures.
    table = out / ("copies.csv" if classifier is None else "samples.csv")
    claim(out / "evaluation.json", _configuration(amounts, subject), out / "summary.csv")
    if classifier is not None:
        claim(out / "features.json", {"sha256": classifier.sha256}, table)
    else:
        warnings.warn(NO_FEATURES, training.TrainingWarning, stacklevel=2)

    summary = Table(out / "summary.csv", {"figure": str, "value": float, "error": float}, 1)
    _measure_network(summary, subject, unseen, amounts)
    levels = _measure_levels(out / "levels.csv", subject, train, unseen, amounts)
    results.draw_levels(levels, out / "levels.png")
    figures = quality.PIXEL_FIGURES if classifier is None else quality.FIGURES
    samples = Table(table, results.SAMPLE_COLUMNS | dict.fromkeys(figures, float), 4)
    draw = functools.partial(
        training.draw,
        subject.denoise,
        image_shape=SHAPE,
        num_samples=amounts.num_samples,
        chunk_size=chunk_size,
        mesh=mesh,
    )
    _measure_samples(samples, summary, subject, plans, train, unseen, classifier, amounts, draw)

    qualities = results.over_seeds(samples.rows.values())
    results.write_quality(qualities, out / "quality.csv")
    if classifier is not None:
        results.draw_quality(qualities, out / "quality.png")
    means = {name: Mean(row["value"], row["error"]) for (name,), row in summary.rows.items()}
    text = results.markdown(means, levels, qualities)
    (out / "evaluation.md").write_text(text, encoding="utf-8")
    return text


def default_amounts(
    checkpoint: str | os.PathLike[str],
    *,
    features: str | None = None,
    data: str | None = None,
    test: str | None = None,
) -> Amounts:
    """How much `evaluate` measures where it is not told; `ValueError` where there is no network."""
    return GENERAL if _is_general(checkpoint, features=features, data=data, test=test) else FULL


def _is_general(
    checkpoint: str | os.PathLike[str], features: str | None, data: str | None, test: str | None
) -> bool:
    """Whether the figures are those of any data, and not those of MNIST and its classifier."""
    _, config = load_weights(checkpoint)
    classifier = features is None or os.path.isfile(features) or not {":", "="} & {*features}
    return config.get("data") != "mnist" or (data, test) != (None, None) or not classifier


def _configuration(amounts: Amounts, subject: Subject) -> dict[str, Any]:
    """What all results of a directory have in common."""
    counts = {k: v for k, v in amounts._asdict().items() if k not in ("seeds", "samplers")}
    return counts | {"checkpoint_sha256": subject.sha256} | setup()


def _measure_network(summary: Table, subject: Subject, test: Images, amounts: Amounts) -> None:
    """The loss on test images, and bits per dimension."""
    images, labels = (part[: amounts.loss_images] for part in test)
    for name, options in (("its own", subject.own), ("the paper's", PAPER)):
        if options is None or (options is PAPER and subject.own == PAPER):
            continue  # trained with another loss, or measured already
        text = ", ".join(f"{value:g}" for value in options.values())
        name = f"test loss, {name} sigma_data, p_mean, p_std: {text}"
        if not summary.get(name):
            with progress_bar("test loss", 8 * len(images)) as bar:
                cond = subject.cond(labels)
                mean = losses.mean_loss(
                    subject.denoise, images, cond=cond, progress=bar.update, **options
                )
            summary.add(name, *mean)
    name = "bits per dimension"
    if not summary.get(name):
        images, labels = test.some(amounts.bits_images)
        high, cond = subject.sigma_max, subject.cond(labels)
        with progress_bar(name, len(images), "image") as bar:
            bits = image_bits(
                subject.denoise, images, sigma_max=high, cond=cond, progress=bar.update
            )
        summary.add(name, *losses.mean_of(bits))


def _measure_levels(
    path: Path, subject: Subject, train: Images, test: Images, amounts: Amounts
) -> dict[str, list[LevelLoss]]:
    """The loss by noise level on test images and on training images."""
    rows = results.levels_table(path)
    grid = np.geomspace(0.002, subject.sigma_max, amounts.num_levels)
    sigmas = [float(f"{sigma:.4g}") for sigma in grid]
    splits = {"test": test, "training": train}
    missing = {split: [s for s in sigmas if not rows.get(split, s)] for split in splits}
    if any(missing.values()):
        best = losses.best_denoiser(train.images, subject.cond(train.labels))
        total = amounts.level_images * sum(map(len, missing.values()))
        width = subject.schedule["sigma_data"]
        with progress_bar("loss by level", total, "image") as bar:
            measure = functools.partial(
                losses.level_losses, subject.denoise, best, sigma_data=width, progress=bar.update
            )
            for split, levels in missing.items():
                images, labels = splits[split].some(amounts.level_images)
                known, cond = split == "training", subject.cond(labels)
                for found in measure(images, levels, training_images=known, cond=cond):
                    rows.add(split, found.sigma, *found.network, *found.best, *found.excess)
    return results.levels_of(rows, splits, sigmas)


def _measure_samples(
    rows: Table,
    summary: Table,
    subject: Subject,
    plans: Mapping[Method, ej.Plan],
    train: Images,
    test: Images,
    classifier: TrainedClassifier | None,
    amounts: Amounts,
    draw: Callable[..., np.ndarray],
) -> None:
    """Test images and samples, against as many training images: other ones for every seed."""
    n = amounts.num_samples
    methods = {Method(results.TEST_IMAGES, "", 0): None} | dict(plans)
    jobs = [
        (seed, method, plan)
        for seed in range(amounts.seeds)
        for method, plan in methods.items()
        if not rows.get(*method, seed)
    ]
    if not jobs:
        return
    nearest, reference = make_nearest(train.images), None
    if classifier is not None:
        reference = quality.Reference(
            classifier, classifier(train.images).features, quality.class_shares(train.labels)
        )
        floor = "Fréchet distance of all training to all test images"
        if not summary.get(floor):
            of_test = classifier(test.images).features
            summary.add(floor, frechet_distance(reference.features, of_test), np.nan)
            summary.add("accuracy of the classifier", classifier.test_accuracy, np.nan)
    with progress_bar(
        "samples", n * sum(plan.nfe for _, _, plan in jobs if plan is not None)
    ) as bar:
        for seed, method, plan in jobs:
            rng = np.random.default_rng(seed)
            # Distances of sets compare at equal sizes only, so there are `n` training images too.
            real = rng.choice(len(train.images), n, replace=False)
            if plan is None:
                images = test.images[rng.choice(len(test.images), n, replace=False)]
            else:
                labels = subject.cond(np.random.default_rng(seed).choice(train.labels, n))
                images = draw(plan, seed=seed, labels=labels, on_chunk=bar.update)
            of = reference and reference._replace(features=reference.features[real])
            figures = quality.figures_of(images, nearest, of)
            rows.add(*method, seed, 0 if plan is None else plan.nfe, *figures.values())
