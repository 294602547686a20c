"""How a run that stops tells its user why: signals, warnings, and errors without a traceback."""

import contextlib
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TrainingWarning(UserWarning):
    """Something that the user of a run should know, although the run continues."""


class DataError(ValueError):
    """What is wrong with the data of a run; the message begins with the name of the file."""


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, and has saved its state. `exit_code` is 128 + the signal's number.

    A shell reports the same code for a program that the signal ended, so `train.py && evaluate.py`
    stops there too: 143 for SIGTERM, 130 for SIGINT (Ctrl-C).
    """

    def __init__(
        self, number: int, done: int, total: int, what: str = "step", *, saved: bool = True
    ):
        then = ", which is saved: the same command resumes from there." if saved else "."
        super().__init__(
            f"Stopped by {signal.Signals(number).name} after {what} {done} of {total}{then}"
        )
        self.exit_code: int = 128 + number


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Yields a function that returns the signal which asked to stop, or 0; restores the handlers.

    The first SIGTERM or SIGINT is only noted. A second one ends the program at once, as it would
    without these handlers. Outside the main thread Python handles no signals, and none is noted.
    """
    noted = 0

    def note(number: int, frame: object) -> None:
        del frame
        nonlocal noted
        noted = number
        for which, handler in before.items():
            signal.signal(which, handler)

    before = {}
    if threading.current_thread() is threading.main_thread():
        # None: a handler that was not installed from Python, and cannot be put back.
        before = {s: signal.getsignal(s) or signal.SIG_DFL for s in _SIGNALS}
        # A signal that is ignored stays ignored, as for a job in the background of a shell.
        before = {s: handler for s, handler in before.items() if handler != signal.SIG_IGN}
        for which in before:
            signal.signal(which, note)
    try:
        yield lambda: noted
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the program with the message alone where this package raised an error on purpose.

    Such errors are about what the user asked for, and a traceback would bury them. An error from
    another package keeps its traceback. A `TrainingWarning` is printed as its message alone. A run
    that was asked to stop ends the program with the exit code of `Stopped`.
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
        except DataError as err:
            # It begins with a file's name, so that tools find it.
            sys.exit(str(err))
        except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as err:
            raised_in = Path(traceback.extract_tb(err.__traceback__)[-1].filename).resolve()
            if not raised_in.is_relative_to(_PACKAGE):
                raise
            sys.exit(f"error: {err}")
