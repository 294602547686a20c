"""Options that choose how samples are drawn, and guidance, which `sample` and `export` share."""

import argparse

import edmjax as ej
from edmjax import training
from edmjax.cli._options import add_option, count
from edmjax.planning.table import levels_beyond
from edmjax.training.defaults import NFE, NUM_STEPS, SAMPLER
from edmjax.training.samples import plan_of

CHOICES = ("sampler", "schedule", "num_steps")


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--sampler`, `--schedule`, `--num-steps`, `--nfe` and `--plan`.

    None tells what was not given.
    """
    add_option(parser, "sampler", "how the noise levels are stepped through", SAMPLER)
    between = "karras between the levels that the network is for"
    add_option(parser, "schedule", "which noise levels are visited", between)
    shown = (
        f"{NUM_STEPS}; of your own data, where none of the three is given, what is recommended "
        f"for {NFE} evaluations"
    )
    text = "how many levels, the last zero not counted"
    add_option(parser, "num-steps", text, shown, type=count)
    parser.add_argument(
        "--nfe", type=count, help="evaluations, by the recommended sampler and grid"
    )
    parser.add_argument(
        "--plan",
        help="file or published name (edmjax plan list) of a plan, in place of a sampler and a "
        "schedule",
    )


def add_guidance(parser: argparse.ArgumentParser) -> None:
    """Adds `--guidance` and `--guide`."""
    parser.add_argument("--guidance", type=float, help="scale of guidance; 1 is none")
    parser.add_argument("--guide", help="directory of a worse network's run, to guide away from")


def guided(args: argparse.Namespace, trained: training.Trained) -> training.Trained:
    """The network with the guidance of the options, or as it is."""
    guide = training.load_trained(args.guide) if args.guide else None
    return trained if args.guidance is None else training.guided(trained, args.guidance, guide)


def check_plan_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with a sentence where two options choose the plan, or one needs another."""
    if args.guide and args.guidance is None:
        parser.error("--guide needs a scale: add --guidance 2.0, or leave it out.")
    if args.plan is not None and args.nfe is not None:
        parser.error(
            "--plan and --nfe each choose how the samples are drawn: leave one of them out."
        )
    chosen = "--plan" if args.plan is not None else "--nfe"
    others = [f"--{k.replace('_', '-')}" for k in CHOICES if getattr(args, k) is not None]
    if others and (args.plan, args.nfe) != (None, None):
        named = ", ".join(others)
        parser.error(
            f"{chosen} chooses the sampler and its levels, so it cannot be combined with "
            f"{named}: leave {chosen} or {named} out."
        )


def chosen_plan(args: argparse.Namespace, trained: training.Trained) -> ej.Plan:
    """The plan of the options, for this network; ValueError where it does not go with it."""
    known = training.levels_of(args.checkpoint)
    if (args.plan, args.nfe) == (None, None):
        chosen = training.SampleConfig(**{name: getattr(args, name) for name in CHOICES})
        # Networks of digits and mnist are sampled as ever; others as their runs are.
        if trained.units is None:
            known = known._replace(spread=None)
        return plan_of(chosen, known)
    if args.nfe is not None:
        return ej.make_plan(*ej.recommend(args.nfe, **known._asdict()))
    plan = ej.plans.find(args.plan)
    if beyond := levels_beyond(plan, known.sigma_min, known.sigma_max):
        low, high = beyond
        raise ValueError(
            f"{args.plan} has noise levels from {low:g} to {high:g}, and the network in "
            f"{args.checkpoint} is for those from {known.sigma_min:g} to {known.sigma_max:g}: "
            "fit a plan to this network, or make one on levels within these."
        )
    return plan
