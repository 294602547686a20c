"""How the scripts tell a user what went wrong, or that a run stopped as it was asked to."""

import contextlib
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from edmjax.training.signals import Stopped

_PACKAGE = Path(__file__).resolve().parent.parent


class TrainingWarning(UserWarning):
    """What a user should know of a run that goes on."""


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with the sentence alone where this package raised an error on purpose.

    Those are about what the user asked for, and a traceback would bury them. An error from deeper
    down keeps its traceback. A `TrainingWarning` is a sentence alone too. A run that was asked to
    stop ends the program with the exit code of `Stopped`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", TrainingWarning)
        show = warnings.showwarning

        def sentence(message, category, *where, **options):
            if category is TrainingWarning:
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, *where, **options)

        warnings.showwarning = sentence
        try:
            yield
        except Stopped as stop:
            print(stop, file=sys.stderr)
            sys.exit(stop.exit_code)
        except (ValueError, OSError, FloatingPointError) as err:
            raised_in = Path(traceback.extract_tb(err.__traceback__)[-1].filename).resolve()
            if not raised_in.is_relative_to(_PACKAGE):
                raise
            sys.exit(f"error: {err}")
