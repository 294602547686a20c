"""`edmjax certify`: runs scripts/certify.py of a checkout.

The claims are the tests' own, with the papers' algorithms and stored numbers that they are compared
with, and those are not installed with the package.
"""

from collections.abc import Sequence

from edmjax.cli._checkout import script


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 where all claims hold, 1 where one fails, 2 without a checkout."""
    return script("certify", "the certificates are its tests").main(argv)
