"""A progress bar for a loop that runs inside a compiled program.

Everything happens when the program runs, not when it is traced: a callback before the loop hands
out a number for the run, and the loop's callbacks carry it, so that a second call of the compiled
function, and two calls at once, have bars of their own. The first iteration makes the bar, the last
one closes it.
"""

import itertools
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import io_callback

# At most this many callbacks a run: each costs some 100 us of host time.
MAX_CALLBACKS = 50
# The bar of a run that died in an exception stays behind; beyond this many, the oldest is closed.
# Should its run be alive after all, its next tick opens it again where it was.
_MAX_OPEN = 8

_numbers = itertools.count()
_open: dict[int, Any] = {}
_lock = threading.Lock()


def start_bar(total: int) -> jax.Array:
    """The traced number of a new run of `total` iterations."""
    require_tqdm()
    # Numbers wrap around long before int32 ends.
    number = lambda: np.int32(next(_numbers) % 2**30)  # noqa: E731
    return io_callback(number, jax.ShapeDtypeStruct((), jnp.int32)) if total else jnp.int32(0)


def tick_bar(run: jax.Array, iteration: jax.Array, total: int) -> None:
    """Reports, from inside the loop, that `iteration` (from 0) of `total` has run."""
    every = -(-total // (MAX_CALLBACKS - 2))  # one callback for the number, one for the last
    due = (iteration % every == 0) | (iteration == total - 1)

    def show(run, iteration):
        _update(int(run), int(iteration) + 1, total)

    lax.cond(due, lambda: jax.debug.callback(show, run, iteration), lambda: None)


def require_tqdm() -> Any:
    """The tqdm module that suits the terminal or the notebook."""
    try:
        from tqdm import auto
    except ModuleNotFoundError as err:
        raise ImportError("progress=True draws its bar with tqdm: pip install tqdm") from err
    return auto


def _update(run: int, done: int, total: int) -> None:
    with _lock:
        bar = _open.get(run)
        if bar is None:
            while len(_open) >= _MAX_OPEN:
                _open.pop(next(iter(_open))).close()
            bar = _open[run] = require_tqdm().tqdm(total=total, desc="sampling", unit="eval")
        bar.update(done - bar.n)
        if done == total:
            _open.pop(run).close()
