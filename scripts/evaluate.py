"""Says how good a trained network of MNIST is, and its samples by sampler and evaluations.

    python scripts/evaluate.py --checkpoint runs/mnist --quick     # minutes
    python scripts/evaluate.py --checkpoint runs/mnist             # an hour or two on two CPU cores

Of the network: the loss on the test images, with the checkpoint's own noise levels and with those
of Karras et al. (2022); the loss by noise level against the best denoiser for the training set;
bits per dimension. Of samples, over --seeds sets of --num-samples: the Fréchet distance in the
features of a classifier, shares and classes under it, precision and recall, and the distances to
the nearest training images. The line "test images" is what as many real images get that the network
never saw.

Ways to draw samples are written SAMPLER@SCHEDULE:BUDGETS, the budgets being evaluations:

    --samplers heun@karras:10,20,35 "unipc(order=3)@cosine:6,10"
    --samplers recommended:5,8,10 "learned@plans/{nfe}.json:5,8,10"

"recommended" is what ej.recommend chooses, "learned" a plan that scripts/fit_plan.py has written.

The classifier is trained when it is not in the cache (scripts/train_classifier.py). The directory
given with --out receives summary.csv, levels.csv, samples.csv (a line a set of samples),
quality.csv (means and standard errors over seeds), evaluation.md, quality.png and levels.png.
Interrupted, the same command goes on where it stopped; with other samplers or more seeds it adds
theirs. docs/evaluation.md says what each figure is.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

import edmjax as ej
from edmjax import evaluation as ev, training

SAMPLERS = [
    "heun@karras:6,10,20,35",
    "dpmpp_2m@karras:6,10,20,35",
    "gradient_estimation@cosine:6,10,20,35",
    "unipc(order=3)@cosine:6,10,20,35",
    "recommended:6,10,20,35",
]
LEVELS = 12


class Amounts(NamedTuple):
    """How much of everything is taken; options of the command change some."""

    num_samples: int = 5000
    seeds: int = 3
    samplers: Sequence[str] = tuple(SAMPLERS)
    loss_images: int = 10_000
    level_images: int = 500
    bits_images: int = 500


QUICK = Amounts(500, 1, ("heun@karras:35", "unipc(order=3)@cosine:10"), 1000, 50, 50)


class Mnist(NamedTuple):
    """Images with values from -1 to 1, and labels."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    out = Path(args.out or Path(args.checkpoint) / "evaluation")
    args.mesh = training.split_over_cores(args.chunk_size)  # before any device is used
    with training.plain_errors():
        # What cannot be comes to light now, and not when samples have been drawn for an hour.
        subject = ev.load_subject(args.checkpoint)
        levels = {"sigma_data": subject.sigma_data}
        if subject.sigma_max is not None:
            levels["sigma_max"] = subject.sigma_max
        ways = [way for text in args.amounts.samplers for way in ev.parse_way(text)]
        plans = {way: ev.plan_of(way, **levels) for way in ways}
        data = load(args.data_dir)
        judge = ev.find_classifier(ev.cache_path(), args.data_dir)
        ev.claim(out, configuration(args.amounts, subject, judge))
        evaluate(args, out, subject, plans, data, judge)


def evaluate(args, out: Path, subject: ev.Subject, plans: dict, data: Mnist, judge: ev.Judge):
    summary = ev.Rows(out / "summary.csv", ("figure", "value", "error"), 1)
    evaluate_network(summary, subject, data, args.amounts)
    by_level = evaluate_levels(
        ev.Rows(out / "levels.csv", LEVEL_COLUMNS, 2), subject, data, args.amounts
    )
    ev.draw_levels(by_level, out / "levels.png")
    samples = ev.Rows(out / "samples.csv", ev.SAMPLE_COLUMNS, 4)
    evaluate_samples(samples, summary, subject, plans, data, judge, args)

    qualities = ev.over_seeds(samples.rows.values())
    ev.write_csv(qualities, out / "quality.csv")
    ev.draw_quality(qualities, out / "quality.png")
    figures = {name: ev.Mean(row["value"], row["error"]) for (name,), row in summary.rows.items()}
    text = ev.markdown(figures, by_level, qualities)
    (out / "evaluation.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"All of it: {out}/evaluation.md, *.csv, quality.png, levels.png")


def evaluate_network(summary: ev.Rows, subject: ev.Subject, data: Mnist, amounts: Amounts) -> None:
    """The loss on test images, and bits per dimension."""
    paper: dict[str, Any] = {"sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2}
    images, labels = data.test[: amounts.loss_images], data.test_labels[: amounts.loss_images]
    cond = labels if subject.num_classes else None
    for name, options in (("its own", subject.own), ("the paper's", paper)):
        if options is None or (options is paper and subject.own == paper):
            continue  # trained with another loss, or said already
        text = ", ".join(f"{value:g}" for value in options.values())
        name = f"test loss, {name} sigma_data, p_mean, p_std: {text}"
        if not summary.get(name):
            with bar("test loss", 8 * len(images)) as progress:
                mean = ev.mean_loss(
                    subject.denoise, images, cond=cond, progress=progress, **options
                )
            summary.add(name, *mean)
    name = "bits per dimension"
    if not summary.get(name):
        rows = fixed_choice(len(data.test), amounts.bits_images)
        with bar("bits per dimension", len(rows), "image") as progress:
            bits = ev.image_bits(
                subject.denoise,
                data.test[rows],
                sigma_max=subject.sigma_max or 80.0,
                cond=data.test_labels[rows] if subject.num_classes else None,
                progress=progress,
            )
        summary.add(name, *ev.mean_of(bits))


LEVEL_COLUMNS = (
    *("split", "sigma", "network", "network_error"),
    *("best", "best_error", "excess", "excess_error"),
)


def evaluate_levels(
    rows: ev.Rows, subject: ev.Subject, data: Mnist, amounts: Amounts
) -> dict[str, list[ev.LevelLoss]]:
    """The loss by noise level on test images and on training images."""
    highest = subject.sigma_max or 80.0
    sigmas = [float(f"{sigma:.4g}") for sigma in np.geomspace(0.002, highest, LEVELS)]
    missing = {
        split: [sigma for sigma in sigmas if not rows.get(split, sigma)]
        for split in ("test", "training")
    }
    if any(missing.values()):
        labels = data.train_labels if subject.num_classes else None
        best = ev.best_denoiser(data.train, labels)
        total = amounts.level_images * sum(map(len, missing.values()))
        with bar("loss by level", total, "image") as progress:
            for split, levels in missing.items():
                images, labels = data[:2] if split == "training" else data[2:]
                few = fixed_choice(len(images), amounts.level_images)
                for found in ev.level_losses(
                    subject.denoise,
                    best,
                    images[few],
                    levels,
                    sigma_data=subject.sigma_data,
                    training_images=split == "training",
                    cond=labels[few] if subject.num_classes else None,
                    progress=progress,
                ):
                    rows.add(split, found.sigma, *found.network, *found.best, *found.excess)
    return {
        split: [
            ev.LevelLoss(
                sigma,
                *(
                    ev.Mean(row[name], row[f"{name}_error"])
                    for name in ("network", "best", "excess")
                ),
            )
            for sigma in sigmas
            if (row := rows.get(split, sigma))
        ]
        for split in missing
    }


def evaluate_samples(
    rows: ev.Rows,
    summary: ev.Rows,
    subject: ev.Subject,
    plans: dict[ev.Way, Any],
    data: Mnist,
    judge: ev.Judge,
    args: argparse.Namespace,
) -> None:
    """Test images and samples, against as many training images: another choice for every seed."""
    n, shares = args.amounts.num_samples, ev.class_shares(data.train_labels)
    ways = {ev.Way(ev.TEST_IMAGES, "", 0): None} | plans
    jobs = [
        (seed, way, plan)
        for seed in range(args.amounts.seeds)
        for way, plan in ways.items()
        if not rows.get(*way, seed)
    ]
    if not jobs:
        return
    features, nearest = judge(data.train).features, ev.make_nearest(data.train)
    floor = "Fréchet distance of all training to all test images"
    if not summary.get(floor):
        summary.add(floor, ev.frechet_distance(features, judge(data.test).features), np.nan)
        summary.add("accuracy of the classifier", judge.test_accuracy, np.nan)
    total = n * sum(plan.nfe for _, _, plan in jobs if plan is not None)
    with bar("samples", total) as progress:
        for seed, way, plan in jobs:
            rng = np.random.default_rng(seed)
            real = features[rng.choice(len(features), n, replace=False)]
            if plan is None:
                images = data.test[rng.choice(len(data.test), n, replace=False)]
            else:
                images = training.draw(
                    subject.denoise,
                    plan,
                    subject.image_shape,
                    num_samples=n,
                    seed=seed,
                    labels=subject.labels(data.train_labels, n, seed),
                    chunk_size=args.chunk_size,
                    mesh=args.mesh,
                    on_chunk=progress,
                )
            figures = ev.figures_of(images, judge, ev.Reference(real, shares, nearest))
            rows.add(*way, seed, 0 if plan is None else plan.nfe, *figures.values())


def load(data_dir: str | None) -> Mnist:
    train, test = (training.load_mnist(data_dir, split=split) for split in ("train", "test"))
    sets = [(ev.scaled(images), labels.astype(np.int32)) for images, labels in (train, test)]
    return Mnist(*sets[0], *sets[1])


def fixed_choice(n: int, count: int) -> np.ndarray:
    """The same `count` of `n` indices at every call, in a random order."""
    return np.random.default_rng(0).permutation(n)[:count]


class bar:
    """A progress bar whose value under `with` is the function that moves it."""

    def __init__(self, what: str, total: int, unit: str = "eval"):
        self.bar = tqdm(total=total, desc=what, unit=unit, unit_scale=True, disable=not total)

    def __enter__(self):
        return self.bar.update

    def __exit__(self, *_):
        self.bar.close()


def configuration(amounts: Amounts, subject: ev.Subject, judge: ev.Judge) -> dict[str, Any]:
    """What all results of a directory have in common."""
    counts = {k: v for k, v in amounts._asdict().items() if k not in ("seeds", "samplers")}
    return counts | {
        "checkpoint_sha256": subject.sha256,
        "classifier_sha256": judge.sha256,
        "edmjax": ej.__version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    full = Amounts()
    parser.add_argument("--checkpoint", required=True, help="directory of a training run")
    parser.add_argument("--data_dir", help="directory with MNIST's files (default: downloaded)")
    parser.add_argument("--out", help="directory for results (default: CHECKPOINT/evaluation)")
    parser.add_argument(
        "--num-samples", type=int, help=f"samples a set (default: {full.num_samples})"
    )
    parser.add_argument("--seeds", type=int, help=f"sets of samples (default: {full.seeds})")
    parser.add_argument(
        "--samplers", nargs="+", help=f"ways to draw samples (default: {' '.join(full.samplers)})"
    )
    parser.add_argument(
        "--chunk-size", type=int, default=500, help="samples computed at once; changes no sample"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything")
    args = parser.parse_args(argv)
    given = {name: getattr(args, name) for name in ("num_samples", "seeds", "samplers")}
    amounts = QUICK if args.quick else full
    amounts = amounts._replace(**{k: v for k, v in given.items() if v is not None})
    if not 100 <= amounts.num_samples <= 10_000:
        parser.error(
            f"--num-samples must be from 100 (the classifier has 64 features) to 10000 (the test "
            f"images that samples are compared with), got {amounts.num_samples}"
        )
    if amounts.seeds < 1 or args.chunk_size < 1:
        parser.error(
            f"--seeds and --chunk-size must be 1 or above, got {amounts.seeds} and "
            f"{args.chunk_size}"
        )
    args.amounts = amounts
    return args


if __name__ == "__main__":
    main()
