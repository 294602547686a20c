"""The parser of a command, its options and their spelling; a wrong one ends with exit code 2."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from edmjax._common.arguments import LARGEST_SEED, as_seed, whole


class Parser(argparse.ArgumentParser):
    """A parser that reads options as `spelled` does; `others` are further names of them."""

    others: Mapping[str, str] = MappingProxyType({})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_args(spelled(self, args, self.others), namespace)


def make_parser(command: str, text: str | None, **options: Any) -> Parser:
    """The parser of `edmjax COMMAND`, whose help has `text` as it is written."""
    raw = argparse.RawDescriptionHelpFormatter
    return Parser(prog=f"edmjax {command}", description=text, formatter_class=raw, **options)


def add_option(
    parser: argparse.ArgumentParser, name: str, text: str, shown: object, **options: Any
) -> None:
    """Adds `--name`; its help says what is taken where it is not given, unless that is nothing."""
    if isinstance(shown, tuple):
        shown = " ".join(map(str, shown))
    text = text if shown == "" else f"{text} (default: {shown})"
    # argparse fills values in after a per cent sign.
    parser.add_argument(f"--{name}", help=text.replace("%", "%%"), **options)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds `--checkpoint`, which names a network."""
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="directory of a training run, or digits or mnist, networks that come with the package",
    )


def spelled(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    others: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """The arguments with each option in the parser's own spelling, with `-` or `_` alike.

    `others` are further names, without dashes in front, with the options that they stand for. An
    option that there is not ends the program with exit code 2, and the nearest ones.
    """
    known = [name for name in parser._option_string_actions if name.startswith("--")]
    names = {_plain(f"--{name}"): f"--{own}" for name, own in others.items()}
    names |= {_plain(name): name for name in known}
    found = []
    arguments = [*(sys.argv[1:] if argv is None else argv)]
    for number, argument in enumerate(arguments):
        if argument == "--":
            return found + arguments[number:]
        name, equals, value = argument.partition("=")
        if not re.match(r"--[A-Za-z]", argument):
            found.append(argument)
            continue
        plain = _plain(name)
        # `--net.options.depth` is a part of `--net.options`; abbreviations are argparse's.
        part = any(plain.startswith(f"{whole}.") for whole in names if "." in whole)
        short = parser.allow_abbrev and any(whole.startswith(plain) for whole in names)
        if plain not in names and not part and not short:
            parser.error(f"there is no option {name}{_nearest(plain, names)}")
        found.append(names.get(plain, name) + equals + value)
    return found


def _plain(name: str) -> str:
    return name[2:].replace("-", "_")


def _nearest(plain: str, names: Mapping[str, str]) -> str:
    """What may have been meant: options of this last name, or those that are spelled most alike.

    `lr` stands for `learning_rate`, as the first letters of its words.
    """
    last = {whole: whole.rpartition(".")[2] for whole in names}
    meant = [own for whole, own in names.items() if last[whole] == plain]
    letters = plain.rpartition(".")[2]
    meant += [
        own
        for whole, own in names.items()
        if len(letters) > 1 and letters == "".join(word[:1] for word in last[whole].split("_"))
    ]
    meant = meant or [names[near] for near in difflib.get_close_matches(plain, names, 2, 0.6)]
    if not meant:
        return ": --help lists those that there are."
    return f". Did you mean {' or '.join(dict.fromkeys(meant[:3]))}?"


def _whole(says: str, check: Callable[[int], int]) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            return check(int(text))
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {says}, got {text!r}") from None

    return convert


def at_least(least: int) -> Callable[[str], int]:
    """Integers from `least` on."""
    return _whole(f"an integer of at least {least}", lambda value: whole(value, "", least=least))


count = at_least(1)
seed = _whole(f"an integer from 0 to {LARGEST_SEED}", as_seed)
