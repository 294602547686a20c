"""The parser of a command, and its options: a wrong one ends with a sentence and exit code 2."""

import argparse
from collections.abc import Callable
from typing import Any

from edmjax._common.arguments import LARGEST_SEED, as_seed, whole


def make_parser(command: str, text: str | None, **options: Any) -> argparse.ArgumentParser:
    """The parser of `edmjax COMMAND`, whose help has `text` as it is written."""
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        prog=f"edmjax {command}", description=text, formatter_class=raw, **options
    )


def add_option(
    parser: argparse.ArgumentParser, name: str, text: str, shown: object, **options: Any
) -> None:
    """Adds `--name`; its help says what is taken where it is not given, unless that is nothing."""
    if isinstance(shown, tuple):
        shown = " ".join(map(str, shown))
    text = text if shown == "" else f"{text} (default: {shown})"
    # argparse fills values in after a per cent sign.
    parser.add_argument(f"--{name}", help=text.replace("%", "%%"), **options)


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
