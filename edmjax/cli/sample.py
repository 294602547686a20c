"""Draws samples with a trained network.

    edmjax sample --checkpoint runs/digits --sampler heun --num-steps 18 --out samples

Samplers and schedules are named with their options in Python's syntax, in quotes on a command line:

    --sampler dpmpp_2m --schedule "karras(sigma_max=20)"
    --sampler "churn(heun, s_churn=40, s_min=0.05, s_max=50, s_noise=1.003)"

A sampler may also be named as in k-diffusion, diffusers, ComfyUI or A1111, for example
"DPM++ 2M Karras" (docs/names.md has all names). The schedule is still the one of --schedule.

Instead of both, --nfe 10 takes the sampler and the grid that are recommended for 10 evaluations of
the network, and --plan plan.json takes a plan that edmjax fit-plan fitted to it:

    --nfe 10
    --plan plan.json

A network with classes draws them in turn; --labels or --label choose among them. It can be guided,
towards the class or away from a worse network:

    --label 7 --guidance 2.0
    --guide runs/short --guidance 2.0

A network that was trained with conditions takes them from a file, in the units of the data:

    --cond observation.npy

The directory given with --out receives samples.npz (array x, samples on axis 0, in the units, shape
and dtype of the data; array y, the labels, where there are any) and, of images with one channel or
three, samples.png. Networks of digits and mnist give float32 from -1 to 1, as the run says
(sample.clip). Sample i depends on the seed, on i and on its label alone.

Samples are drawn --chunk-size at a time, and written to OUT/shards as they are drawn. If the
command is interrupted, run it again: it draws what is missing, and the result is the same.
At the end the shards are joined into samples.npz; with --format shards, and above 1 GB, they stay.
With --format png each sample is a picture in OUT/images, where the classes are sub-folders, so that
edmjax train --data OUT/images reads them. --denoising strip gif shows how noise becomes the first.
"""

import argparse
from collections.abc import Sequence
from textwrap import indent

import numpy as np
from tqdm import tqdm

from edmjax import training
from edmjax.cli._conditions import add_condition, conditions_of, rows as conditions_from
from edmjax.cli._options import add_checkpoint, add_option, count, make_parser, seed
from edmjax.cli._plan import (
    CHOICES,
    add_guidance,
    add_plan_options,
    check_plan_options,
    chosen_plan,
    guided,
)
from edmjax.training import pictures
from edmjax.training.choices import describe
from edmjax.training.errors import Stopped, stop_requests
from edmjax.training.files import make_directory, sha256
from edmjax.training.shards import Shards, draw_shards, identity

_DEFAULTS = training.SampleConfig()
_OPTIONS = {
    "num_samples": ("how many samples", count),
    "chunk_size": ("samples computed at once; changes no sample", count),
    "seed": ("of the noise", seed),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = _parser()
    args = parser.parse_args(argv)
    check_plan_options(parser, args)
    with training.plain_errors():
        devices = {name: getattr(args, name) for name in training.DEVICE_OPTIONS}
        mesh = training.open_mesh(devices, min(args.chunk_size, args.num_samples))
        trained = training.load_trained(args.checkpoint)
        labels = training.sample_labels(args.num_samples, trained.num_classes, args.labels)
        cond = conditions_of(args, trained, labels, args.num_samples)
        trained = guided(args, trained)
        plan = chosen_plan(args, trained)
        if args.format == "png" or args.denoising:
            pictures.check_pictures(trained, args.out if args.format == "png" else None)
        if training.is_first():  # now, and not when the samples are drawn
            make_directory(args.out, "samples.npz", "samples.png", *pictures.DENOISING.values())
        about = identity(
            args.checkpoint,
            args.guide,
            plan,
            seed=args.seed,
            guidance=args.guidance,
            classes=args.labels,
            **({} if args.cond is None else {"cond_sha256": sha256(args.cond)}),
        )
        shards = Shards(args.out, about, args.num_samples, args.chunk_size)
        several = len(shards.todo) > 1 or len(shards.todo) < shards.number

        def draw(first: int, rows: int) -> np.ndarray:
            samples = training.draw(
                trained.denoise,
                plan,
                trained.image_shape,
                num_samples=rows,
                first=first,
                seed=args.seed,
                labels=None if labels is None else labels[first : first + rows],
                cond=conditions_from(cond, first, rows),
                chunk_size=rows,
                mesh=mesh,
                progress=not several,
                clip=trained.clip,
            )
            return trained.to_data(samples)

        hidden = not (several and training.is_first())
        with (
            stop_requests() as asked,
            tqdm(total=args.num_samples, unit="sample", desc="sample", disable=hidden) as bar,
        ):
            signal = draw_shards(draw, shards, asked, bar.update)
        if signal:
            raise Stopped(signal, shards.done(), args.num_samples, "sample")
        if training.is_first():
            _finish(args, shards, labels, trained)
            if args.denoising:
                n = min(args.num_samples, max(pictures.SHOWN.values()))
                given = labels if labels is None else labels[:n]
                given = given if cond is None else conditions_from(cond, 0, n)
                options = {"seed": args.seed, "cond": given, "num_samples": n}
                made = pictures.write_denoising(trained, plan, args.out, args.denoising, **options)
                print(f"from noise to the first of them: {', '.join(map(str, made))}")


def _finish(
    args: argparse.Namespace, shards: Shards, labels: np.ndarray | None, trained: training.Trained
) -> None:
    """Joins the shards into one file, makes pictures of them, or says where they are."""
    if args.format == "png":
        written = pictures.write_images(shards.parts, args.out, labels, trained)
        shards.delete()
        print(f"{args.num_samples} samples: {', '.join(map(str, written))}")
        return
    if args.format == "shards" or not shards.joinable:
        why = "" if args.format == "shards" else ": more than 1 GB is not joined into one file"
        print(f"{args.num_samples} samples: {shards.folder}/*.npz, in their order{why}")
        return
    written = training.write_samples(shards.join(), args.out, labels, trained.units)
    shards.delete()
    print(f"{args.num_samples} samples: {', '.join(map(str, written))}")


def _parser() -> argparse.ArgumentParser:
    samplers, schedules = training.sampler_names(), training.schedule_names()
    parser = make_parser(
        "sample",
        __doc__,
        epilog="samplers (inner stands for another sampler):\n"
        f"{indent(describe(samplers), '  ')}\n\nschedules:\n"
        f"{indent(describe(schedules, skip=('n',)), '  ')}\n\n"
        'What each is: python -c "import edmjax as ej; help(ej.samplers.heun)"',
    )
    # Names that edmjax train has for the same things.
    parser.others = {f"sample.{name}": name.replace("_", "-") for name in (*CHOICES, *_OPTIONS)}
    add_checkpoint(parser)
    parser.add_argument("--out", required=True, help="directory for what is written")
    add_plan_options(parser)
    for name, (text, kind) in _OPTIONS.items():
        shown = getattr(_DEFAULTS, name)
        add_option(parser, name.replace("_", "-"), text, shown, type=kind, default=shown)
    parser.add_argument(
        "--format",
        choices=("npz", "png", "shards"),
        default="npz",
        help="one file of all samples, a picture each, or the shards as drawn (default: npz)",
    )
    parser.add_argument(
        "--denoising",
        nargs="+",
        choices=[*pictures.DENOISING],
        help="pictures of how noise becomes the first samples: a strip, an animation",
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--labels", type=int, nargs="+", help="classes, drawn in turn (default: all there are)"
    )
    classes.add_argument(
        "--label", type=int, nargs=1, dest="labels", metavar="LABEL", help="one class for all"
    )
    add_condition(parser, "one a sample")
    add_guidance(parser)
    training.add_device_options(parser)
    return parser
