"""Stopping between two steps when the program is asked to stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, and has saved its state. `exit_code` is 128 + the signal's number.

    That is what a shell reports of a program that the signal ended, so `train.py && evaluate.py`
    stops there too: 143 for SIGTERM, 130 for SIGINT (Ctrl-C).
    """

    def __init__(self, number: int, step: int, total: int):
        super().__init__(
            f"Stopped by {signal.Signals(number).name} after step {step} of {total}, which is "
            "saved: the same command goes on from there."
        )
        self.exit_code = 128 + number


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """The function that says which signal asked to stop, 0 for none; handlers are put back after.

    The first SIGTERM or SIGINT is only noted. A second one ends the program at once, as if nobody
    listened. Outside the main thread Python handles no signals, and nothing is noted.
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
        # What was told to be ignored stays so, as for a job in the background of a shell.
        before = {s: handler for s, handler in before.items() if handler != signal.SIG_IGN}
        for which in before:
            signal.signal(which, note)
    try:
        yield lambda: noted
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
