"""`edmjax sample`: runs scripts/sample.py of a checkout."""

from collections.abc import Sequence

from edmjax.cli._checkout import script


def main(argv: Sequence[str] | None = None) -> None:
    script("sample", "that is where its script is").main(argv)
