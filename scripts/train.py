"""Trains a network on a dataset and draws samples with it.

    python scripts/train.py --config configs/digits.yaml --out runs/digits

Every entry of the configuration is an option, so a file can be overridden on the command line:

    python scripts/train.py --config configs/digits.yaml --optim.learning_rate 5e-4 --out runs/slow

The directory given with --out receives config.yaml (all values as used), loss.csv, loss.png,
weights.safetensors (for scripts/sample.py and for others), checkpoint/ (to go on from),
samples.npz (array x, values from -1 to 1, axes sample, height, width, channel) and samples.png.
Interrupted, the same command goes on from the last checkpoint.
"""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from edmjax import training

USAGE = "train.py [--config FILE] [--out DIRECTORY] [--ENTRY VALUE ...]"


class HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the line breaks of the text above."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=HelpFormatter, usage=USAGE
    )
    parser.add_argument("--config", action="config", help="YAML file with values, see configs/")
    parser.add_class_arguments(training.Config, None)
    arguments = parser.parse_args(argv)
    arguments.pop("config")
    config = training.Config(**parser.instantiate(arguments).as_dict())

    with training.plain_errors():
        # Wrong names come to light now and not when training is done.
        training.parse_sampler(config.sample.sampler)
        training.parse_schedule(config.sample.schedule, config.sample.num_steps)
        dataset = training.load_dataset(config.data, config.data_dir)
        net, params = training.train(config, dataset)
        denoise = training.build_denoiser(config.loss, net.bind(params))
        samples = training.generate(denoise, config.sample, dataset.image_shape)
        training.write_samples(samples, config.out)
    print(f"{len(samples)} samples: {config.out}/samples.npz, {config.out}/samples.png")


if __name__ == "__main__":
    main()
