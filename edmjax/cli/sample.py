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

The directory given with --out receives samples.npz (array x, axes sample, height, width, channel;
array y, the labels, where there are any) and, of images with one channel or three, samples.png.
Values go from -1 to 1, where the network learned images of whole numbers; the run can say otherwise
(sample.clip). Sample i depends on the seed, on i and on its label alone.
"""

import argparse
from collections.abc import Sequence
from textwrap import indent

import edmjax as ej
from edmjax import training
from edmjax.cli._options import add_option, count, make_parser, seed
from edmjax.planning.table import levels_beyond
from edmjax.training.choices import describe
from edmjax.training.files import make_directory

_DEFAULTS = training.SampleConfig()
_CHOICES = ("sampler", "schedule", "num_steps")
_TYPES = {"num_steps": count, "num_samples": count, "chunk_size": count, "seed": seed}


def main(argv: Sequence[str] | None = None) -> None:
    parser = _parser()
    args = parser.parse_args(argv)
    _check(parser, args)
    with training.plain_errors():
        devices = {name: getattr(args, name) for name in training.DEVICE_OPTIONS}
        mesh = training.open_mesh(devices, min(args.chunk_size, args.num_samples))
        trained = training.load_trained(args.checkpoint)
        labels = training.sample_labels(args.num_samples, trained.num_classes, args.labels)
        guide = training.load_trained(args.guide) if args.guide else None
        if args.guidance is not None:
            trained = training.guided(trained, args.guidance, guide)
        plan = _plan_of(args)
        if training.is_first():  # now, and not when the samples are drawn
            make_directory(args.out, "samples.npz", "samples.png")
        samples = training.draw(
            trained.denoise,
            plan,
            trained.image_shape,
            num_samples=args.num_samples,
            seed=args.seed,
            labels=labels,
            chunk_size=args.chunk_size,
            mesh=mesh,
            progress=True,
            clip=trained.clip,
        )
        if training.is_first():
            written = training.write_samples(samples, args.out, labels)
            print(f"{len(samples)} samples: {', '.join(map(str, written))}")


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with a sentence where two options choose the plan, or one needs another."""
    if args.guide and args.guidance is None:
        parser.error("--guide needs a scale: add --guidance 2.0, or leave it out.")
    if args.plan is not None and args.nfe is not None:
        parser.error(
            "--plan and --nfe each choose how the samples are drawn: leave one of them out."
        )
    chosen = "--plan" if args.plan is not None else "--nfe"
    others = [f"--{k.replace('_', '-')}" for k in _CHOICES if getattr(args, k) is not None]
    if others and (args.plan, args.nfe) != (None, None):
        named = ", ".join(others)
        parser.error(
            f"{chosen} chooses the sampler and its levels, so it cannot be combined with "
            f"{named}: leave {chosen} or {named} out."
        )


def _plan_of(args: argparse.Namespace) -> ej.Plan:
    if (args.plan, args.nfe) == (None, None):
        sampler, schedule, num_steps = (
            getattr(_DEFAULTS if getattr(args, name) is None else args, name) for name in _CHOICES
        )
        made = training.parse_sampler(sampler)
        return ej.make_plan(made, training.parse_schedule(schedule, num_steps))
    known = training.levels_of(args.checkpoint)
    if args.nfe is not None:
        return ej.make_plan(*ej.recommend(args.nfe, **known._asdict()))
    plan = ej.Plan.load(args.plan)
    if beyond := levels_beyond(plan, known.sigma_min, known.sigma_max):
        low, high = beyond
        raise ValueError(
            f"{args.plan} has noise levels from {low:g} to {high:g}, and the network in "
            f"{args.checkpoint} is for those from {known.sigma_min:g} to {known.sigma_max:g}: "
            "fit a plan to this network, or make one on levels within these."
        )
    return plan


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
    parser.add_argument("--checkpoint", required=True, help="directory of a training run")
    parser.add_argument("--out", required=True, help="directory for what is written")
    for name, text in {
        "sampler": "how the noise levels are stepped through",
        "schedule": "which noise levels are visited",
        "num_steps": "how many levels, the last zero not counted",
        "num_samples": "how many samples",
        "chunk_size": "samples computed at once; changes no sample",
        "seed": "of the noise",
    }.items():
        shown, kind = getattr(_DEFAULTS, name), _TYPES.get(name, str)
        # None tells what was not given.
        default = None if name in _CHOICES else shown
        add_option(parser, name.replace("_", "-"), text, shown, type=kind, default=default)
    parser.add_argument(
        "--nfe", type=count, help="evaluations, by the recommended sampler and grid"
    )
    parser.add_argument("--plan", help="file of a plan, in place of a sampler and a schedule")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--labels", type=int, nargs="+", help="classes, drawn in turn (default: all there are)"
    )
    classes.add_argument(
        "--label", type=int, nargs=1, dest="labels", metavar="LABEL", help="one class for all"
    )
    parser.add_argument("--guidance", type=float, help="scale of guidance; 1 is none")
    parser.add_argument("--guide", help="directory of a worse network's run, to guide away from")
    training.add_device_options(parser)
    return parser
