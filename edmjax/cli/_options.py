"""Values of options: a wrong one ends the program with a sentence and exit code 2."""

import argparse
from collections.abc import Callable

from edmjax._common.arguments import LARGEST_SEED, as_seed, whole


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
