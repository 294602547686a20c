"""Options of the commands: `-` and `_` alike, names of either command, and near misses."""

import re

import pytest

from edmjax.cli import sample, train
from edmjax.cli._options import make_parser, spelled


def parser():
    made = make_parser("some", None)
    for name in ("--num-samples", "--data_dir", "--optim.steps", "--net.options", "--out"):
        made.add_argument(name)
    return made


@pytest.mark.parametrize(
    "given, expected",
    [
        (["--num_samples", "3"], ["--num-samples", "3"]),
        (["--data-dir=a_b-c"], ["--data_dir=a_b-c"]),
        (["--optim.steps", "-3", "--", "--num_s"], ["--optim.steps", "-3", "--", "--num_s"]),
        (["--net.options.depth_of", "2"], ["--net.options.depth_of", "2"]),
        (["--sample.num_samples", "3"], ["--num-samples", "3"]),
        (["--out", "my_dir", "x_y"], ["--out", "my_dir", "x_y"]),
    ],
)
def test_an_option_is_read_with_either_sign(given, expected):
    assert spelled(parser(), given, {"sample.num_samples": "num-samples"}) == expected


@pytest.mark.parametrize(
    "given, says",
    [
        ("--steps", r"there is no option --steps\. Did you mean --optim\.steps\?"),
        ("--optm.steps=3", r"no option --optm\.steps\. Did you mean --optim\.steps\?"),
        ("--num_sample", "Did you mean --num-samples"),
        ("--ns", r"Did you mean --num-samples\?"),
        ("--zzz", "--help lists those that there are"),
    ],
)
def test_a_near_miss_is_told_the_right_spelling(given, says, capsys):
    made = parser()
    made.allow_abbrev = False
    with pytest.raises(SystemExit) as stop:
        spelled(made, [given])
    assert stop.value.code == 2
    assert re.search(says, capsys.readouterr().err)


def test_train_and_sample_take_each_others_names():
    made = sample._parser()
    args = made.parse_args(["--checkpoint=a", "--out=b", "--sample.num_steps=7", "--sample.seed=3"])
    assert (args.num_steps, args.seed) == (7, 3)
    assert train.OTHERS["num_samples"] == "sample.num_samples" and "seed" not in train.OTHERS
    assert train.OTHERS["init_from"] == "init"
