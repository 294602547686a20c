"""How the scripts tell a user what went wrong."""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with the sentence alone where this package raised an error on purpose.

    Those are about what the user asked for, and a traceback would bury them. An error from deeper
    down keeps its traceback.
    """
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as err:
        raised_in = Path(traceback.extract_tb(err.__traceback__)[-1].filename).resolve()
        if not raised_in.is_relative_to(_PACKAGE):
            raise
        sys.exit(f"error: {err}")
