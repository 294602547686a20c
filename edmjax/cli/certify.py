"""`edmjax certify`: runs scripts/certify.py of a checkout.

The claims are the tests' own, with the papers' algorithms and stored numbers that they are compared
with, and those are not installed with the package.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import edmjax

NEEDS_A_CHECKOUT = (
    "edmjax certify needs a checkout of the project, because the certificates are its tests: run "
    "it from the checkout's root, where scripts/certify.py and tests/certificates/ are. There is "
    "none in {places}."
)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 where all claims hold, 1 where one fails, 2 without a checkout."""
    # A checkout that is installed in place (`pip install -e .`), or else the current directory.
    places = [Path(edmjax.__file__).parents[1], Path.cwd()]
    found = [place for place in places if (place / "tests" / "certificates").is_dir()]
    if not found:
        print(NEEDS_A_CHECKOUT.format(places=" or ".join(map(str, places))), file=sys.stderr)
        return 2
    script = found[0] / "scripts" / "certify.py"
    spec = importlib.util.spec_from_file_location("certify", script)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(argv)
