"""Writes the sampler of a trained network, with its weights, as one file for other programs.

    edmjax export --checkpoint runs/digits --out digits.stablehlo
    edmjax export --checkpoint runs/digits --nfe 10 --guidance 2.0 --out digits.stablehlo

The file is a program in StableHLO for CPUs, NVIDIA GPUs and TPUs, for any number of samples. It
runs where only jax and flatbuffers are installed (docs/export.md):

    from jax import export
    sampler = export.deserialize(bytearray(open("digits.stablehlo", "rb").read()))
    x = sampler.call(seed, index)

seed is an int32, and index an array of int32, the numbers of the samples. Of a network with classes
there is a third argument, the label of each sample, and of one with conditions these, in the units
of the data; where there are several, a dictionary. Samples are those that edmjax sample draws with
this seed, in the units, shape and dtype of the data. The options that choose how they are drawn are
those of edmjax sample, whose help lists samplers and schedules.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
from jax import export

from edmjax import training
from edmjax.cli._options import add_checkpoint, add_option, make_parser
from edmjax.cli._plan import (
    add_guidance,
    add_plan_options,
    check_plan_options,
    chosen_plan,
    guided,
)
from edmjax.training.export import PLATFORMS, export_sampler
from edmjax.training.files import make_directory, write_file


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = _parser()
    args = parser.parse_args(argv)
    check_plan_options(parser, args)
    with training.plain_errors():
        trained = guided(args, training.load_trained(args.checkpoint))
        plan, out = chosen_plan(args, trained), Path(args.out)
        make_directory(out.parent, out.name)
        made = export_sampler(trained, plan, platforms=args.platforms)
        write_file(out, bytes(made.serialize()))
    print(f"{out}: {out.stat().st_size / 1e6:.3g} MB, for {', '.join(made.platforms)}")
    print(_signature(made, "label" if trained.conditions is None else "cond"))


def _signature(made: export.Exported, third: str) -> str:
    """Its arguments and its result, as `call(seed: int32[], index: int32[n]) -> uint8[n,8,8,1]`."""
    (seed, index, *given), _ = jax.tree.unflatten(made.in_tree, made.in_avals)
    inside = f"seed: {seed.str_short()}, index: {index.str_short()}"
    for name, aval in (given[0] if given and isinstance(given[0], dict) else {}).items():
        inside += f", {name}: {aval.str_short()}"
    if given and not isinstance(given[0], dict):
        inside += f", {third}: {given[0].str_short()}"
    return f"call({inside}) -> {made.out_avals[0].str_short()}"


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("export", __doc__)
    add_checkpoint(parser)
    parser.add_argument("--out", required=True, help="the file, such as sampler.stablehlo")
    add_plan_options(parser)
    add_guidance(parser)
    add_option(
        parser,
        "platforms",
        "what it is for",
        PLATFORMS,
        nargs="+",
        choices=(*PLATFORMS, "rocm"),
        default=PLATFORMS,
    )
    return parser
