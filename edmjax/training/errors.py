"""How the scripts tell a user what went wrong, or that a run stopped as it was asked to."""

import contextlib
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from edmjax.training.signals import Stopped

_PACKAGE = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with the sentence alone where this package raised an error on purpose.

    Those are about what the user asked for, and a traceback would bury them. An error from deeper
    down keeps its traceback. The package's warnings are sentences alone too. A run that was asked
    to stop ends the program with the exit code of `Stopped`.
    """
    with warnings.catch_warnings():
        show = warnings.showwarning

        def sentence(message, category, filename, lineno, file=None, line=None):
            if _is_ours(filename):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = sentence
        try:
            yield
        except Stopped as stop:
            print(stop, file=sys.stderr)
            sys.exit(stop.exit_code)
        except (ValueError, OSError, FloatingPointError) as err:
            if not _is_ours(traceback.extract_tb(err.__traceback__)[-1].filename):
                raise
            sys.exit(f"error: {err}")


def _is_ours(filename: str) -> bool:
    return Path(filename).resolve().is_relative_to(_PACKAGE)
