"""Trains a network on a dataset and draws samples with it.

    edmjax train --config configs/digits.yaml --out runs/digits

Every entry of the configuration is an option, so a file can be overridden on the command line:

    edmjax train --config configs/digits.yaml --optim.learning_rate 5e-4 --out runs/slow

The directory given with --out receives config.yaml (all values as used), loss.csv, loss.png,
weights.safetensors (for edmjax sample and for others), checkpoint/ (to resume from),
samples.npz (array x, samples on axis 0, in the units, shape and dtype of the data; of digits and
mnist float32 from -1 to 1) and, of images with one channel or three, samples.png.

Your own data are a file, a directory of images or a function (docs/data.md):

    edmjax train --data photos/ --data_size 32 --out runs/photos
    edmjax train --data fields.npy --out runs/fields
    edmjax train --data mymodule:load --out runs/mine

After any interruption the same command resumes from the last checkpoint and ends with the same
weights. Ctrl-C and SIGTERM save first, and end with the exit code 130 or 143; an error ends with 1.

Several devices, and several machines that run this same command (docs/distributed.md):

    edmjax train --config configs/mnist.yaml --out runs/mnist --mesh data=4,model=2
"""

import argparse
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from edmjax import training
from edmjax.cli._options import spelled
from edmjax.training.configured import prepared
from edmjax.training.defaults import about, levels_for
from edmjax.training.samples import conditions_in_turn, plan_of

# Names that edmjax sample has for the same things, and one that says more.
OTHERS = {
    **{f.name: f"sample.{f.name}" for f in fields(training.SampleConfig) if f.name != "seed"},
    "init_from": "init",
}
LARGEST = 10_000  # entries of a file: a configuration has about fifty
USAGE = "edmjax train [--config FILE] [--out DIRECTORY] [--mesh AXES] [--ENTRY VALUE ...]"


class HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the line breaks of the text above."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(
        prog="edmjax train", description=__doc__, formatter_class=HelpFormatter, usage=USAGE
    )
    parser.add_argument("--config", action="config", help="YAML file with values, see configs/")
    parser.add_class_arguments(training.Config, None)
    training.add_device_options(parser)
    argv = spelled(parser, argv, OTHERS)
    _check_sizes(parser, argv)
    arguments = parser.parse_args(argv)
    for path in map(str, filter(None, arguments.pop("config") or [])):
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        _check_groups(parser, path, entries, asdict(training.Config()))
    # What remains are entries of the configuration: devices are no part of a run's identity.
    devices = {name: arguments.pop(name) for name in training.DEVICE_OPTIONS}
    try:
        config = training.Config(**parser.instantiate(arguments).as_dict())
    except (TypeError, ValueError) as err:
        parser.error(str(err))

    with training.plain_errors():
        mesh = training.open_mesh(devices, config.optim.batch_size)
        # A wrong name is an error now and not when training is done.
        plan_of(config.sample)
        dataset = training.load_dataset(
            config.data,
            config.data_dir,
            size=config.data_size,
            channels=config.data_channels,
            scale=None if config.data_scale == "measure" else config.data_scale,
            columns=config.data_columns,
            in_memory=config.data_in_memory,
        )
        config, dataset, known, _ = prepared(config, dataset)
        if training.is_first():
            print(about(config, dataset, known))
        net, params = training.train(config, dataset, mesh=mesh)
        denoise = training.build_denoiser(config.loss, net.bind(params))
        num_classes = dataset.num_classes if config.net.classes else 0
        number = config.sample.num_samples
        sample = replace(config.sample, clip=dataset.clips(config.sample.clip))
        labels, cond, shown = conditions_in_turn(dataset, number, num_classes)
        samples = training.generate(
            denoise,
            sample,
            dataset.image_shape,
            labels=labels,
            cond=cond,
            levels=levels_for(config.loss, dataset, known),
            mesh=mesh,
        )
        if training.is_first():
            units = dataset.sample_units
            samples = samples if units is None else units.to_data(samples)
            written = training.write_samples(samples, config.out, labels, units, shown)
            print(f"{len(samples)} samples: {', '.join(map(str, written))}")


def _check_sizes(parser: ArgumentParser, argv: Sequence[str] | None) -> None:
    """Ends the program where a file has more entries than a configuration can have.

    In YAML a few lines of aliases of aliases stand for more entries than any memory holds, and
    jsonargparse would write them all out.
    """
    only = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    only.add_argument("--config", action="append", default=[])
    for path in only.parse_known_args(argv)[0].config:
        try:
            root = yaml.compose(Path(path).read_text(encoding="utf-8"), yaml.SafeLoader)
            size = _size(root, {})
        except RecursionError:
            size = LARGEST + 1
        except (OSError, ValueError, yaml.YAMLError):
            continue  # jsonargparse says what is wrong
        if size > LARGEST:
            parser.error(f"{path}: more than {LARGEST} entries, aliases counted: write them out.")


def _size(node: Any, known: dict[int, int]) -> int:
    """How many scalars a node of YAML stands for; a RecursionError where it holds itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        pairs = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _check_groups(
    parser: ArgumentParser, path: str, entries: Any, known: dict[str, Any], group: str = ""
) -> None:
    """Ends the program where a file names a group that does not exist.

    jsonargparse refuses unknown entries, but not an unknown group without entries.
    """
    for name in entries if isinstance(entries, dict) else {}:
        if name not in known:
            parser.error(f"{path}: there is no {group}{name}; there are {', '.join(known)}.")
        if isinstance(known[name], dict):
            _check_groups(parser, path, entries[name], known[name], f"{group}{name}.")
