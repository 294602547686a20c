"""Fits a plan of few evaluations to a trained network: its noise levels and its weights.

    edmjax fit-plan --checkpoint runs/mnist --nfe 8 --out plan.json
    edmjax sample --checkpoint runs/mnist --plan plan.json --out samples

The network does not change; a fit takes minutes on two CPU cores. Three quarters of --num-noises
noises are fitted, and a quarter chooses the plan. On --test-noises fresh noises it is then compared
with the recommended plan and with DPM++(2M) on Karras' levels, at equal evaluations. The error of a
sample is the root mean square, over its components, of its distance from the network's own flow,
solved with many more evaluations.

A picture is written beside the plan, with .png in place of .json: the levels against Karras', and
the errors of the fresh noises.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import edmjax as ej
from edmjax import training
from edmjax.cli._conditions import add_condition, conditions_of
from edmjax.cli._options import add_checkpoint, add_option, at_least, count, make_parser, seed
from edmjax.training.files import make_directory

REFERENCE = 200


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    args = _parser().parse_args(argv)
    with training.plain_errors():
        out = _check_out(args.out)
        trained = training.load_trained(args.checkpoint)
        levels = training.levels_of(args.checkpoint)
        ends: Any = {"sigma_min": levels.sigma_min, "sigma_max": levels.sigma_max}
        noise_key, test_key, fit_key = jax.random.split(jax.random.key(args.seed), 3)

        def noises(key: Any, n: int) -> tuple[Any, Any]:
            x = levels.sigma_max * jax.random.normal(key, (n, *trained.image_shape))
            labels = training.sample_labels(n, trained.num_classes)
            cond = conditions_of(args, trained, labels, n, in_turn=True)
            return x, labels if cond is None else cond

        # Those to compare with come first: what cannot be made is said before the fit.
        karras = ej.schedules.karras(args.nfe, **ends)
        others = {
            "recommended": ej.make_plan(*ej.recommend(args.nfe, **levels._asdict())),
            "DPM++(2M) on Karras": ej.make_plan(ej.samplers.dpmpp_2m(), karras),
        }
        x, cond = noises(noise_key, args.num_noises)
        plan = ej.learning.fit_plan(
            trained.denoise,
            args.nfe,
            x,
            fit_key,
            cond=cond,
            updates=args.updates,
            batch_size=args.batch_size,
            progress=True,
            **ends,
        )
        plan.save(out)  # before the comparison, which may be stopped
        errors = _errors(
            trained.denoise, {"fitted": plan} | others, *noises(test_key, args.test_noises), ends
        )
        print(f"Of {args.test_noises} fresh noises, the root mean square error and the median:")
        for name, values in errors.items():
            print(f"  {_rms(values):9.3g} {np.median(values):9.3g}  {name}")
        about = (
            f"{args.checkpoint}, seed {args.seed}: {plan.about.fitted_on}; {args.test_noises} "
            f"fresh ones, {_rms(errors['fitted']):.3g} (median {np.median(errors['fitted']):.3g})"
        )
        plan = dataclasses.replace(plan, about=dataclasses.replace(plan.about, fitted_on=about))
        plan.save(out)
        picture = out.with_suffix(".png")
        _draw(plan, karras, errors, picture)
        print(f"{plan}\n{out}, {picture}")


def _errors(
    denoise: Any, plans: dict[str, ej.Plan], x: Any, cond: Any, ends: Any
) -> dict[str, np.ndarray]:
    """The error of each sample by each plan, shape (samples,)."""
    # One sweep runs all plans by one program. The reference is the plan without a name.
    fine = ej.make_plan(ej.samplers.unipc(3), ej.schedules.exponential(REFERENCE, **ends))
    found = ej.sweep(denoise, plans | {"": fine}, x, cond=cond)
    exact = np.asarray(found.pop(""))
    # Over the components of a sample: axis 0 counts samples.
    axes = tuple(range(1, exact.ndim))
    squares = {name: (np.asarray(x0) - exact) ** 2 for name, x0 in found.items()}
    return {name: np.sqrt(np.mean(square, axis=axes)) for name, square in squares.items()}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _draw(plan: ej.Plan, karras: np.ndarray, errors: dict[str, np.ndarray], path: Path) -> None:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for grid, name in ((plan.sigmas, "fitted"), (karras[:-1], "Karras")):
        left.semilogy(np.arange(1, len(grid) + 1), grid, marker="o", markersize=4, label=name)
    left.set(title="noise levels", xlabel="evaluation of the network", ylabel="sigma")
    left.legend()
    for name, values in errors.items():
        right.semilogx(np.sort(values), np.arange(1, len(values) + 1) / len(values), label=name)
    right.set(title="errors of fresh noises", xlabel="error of a sample", ylabel="share below")
    right.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def _check_out(out: str) -> Path:
    """The file to write; an error before anything is computed where it cannot be one."""
    if Path(out).suffix == ".png" or Path(out).is_dir():
        raise ValueError(
            "--out is the file of the plan, such as plan.json, and a picture is written beside it; "
            f"got {out}."
        )
    path = Path(out)
    make_directory(path.parent, path.name, path.with_suffix(".png").name)
    return Path(out)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("fit-plan", __doc__)
    add_checkpoint(parser)
    parser.add_argument("--nfe", type=count, required=True, help="evaluations of the plan")
    parser.add_argument("--out", required=True, help="the file of the plan, such as plan.json")
    for name, kind, default, text in (
        ("num-noises", at_least(16), 256, "noises to fit and to choose by"),
        ("test-noises", count, 256, "fresh noises to compare on"),
        ("updates", at_least(0), 100, "how often the levels and the weights are moved"),
        ("seed", seed, 0, "of all noises"),
    ):
        add_option(parser, name, text, default, type=kind, default=default)
    parser.add_argument(
        "--batch-size", type=at_least(4), help="noises of an update (default: 64 or more)"
    )
    add_condition(parser, "several, which the noises have in turn")
    return parser
