"""The list of runs: names, and functions of no arguments that return a pytree of arrays."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

MODES = ("x32", "x64")  # without and with JAX's x64 mode
# Name -> function, for each mode. A name has its subject before the first slash.
RUNS: dict[str, dict[str, Callable[[], Any]]] = {mode: {} for mode in MODES}


def add(name: str, make: Callable[..., Any], *args: Any, mode: str = "x32", **options: Any) -> None:
    """Enters the run `make(*args, **options)`."""
    if name in RUNS[mode]:
        raise ValueError(f"There are two runs of the name {name!r}: give one another name.")
    RUNS[mode][name] = functools.partial(make, *args, **options)


def run(name: str, modes: Iterable[str] = ("x32",)) -> Callable[[Callable[[], Any]], Any]:
    """Decorates a function of no arguments as the run of this name."""

    def enter(make: Callable[[], Any]) -> Callable[[], Any]:
        for mode in modes:
            add(name, make, mode=mode)
        return make

    return enter


def typed(
    name: str,
    make: Callable[..., Any],
    *args: Any,
    dtypes: Iterable[str] = ("float32", "float64", "bfloat16"),
    **options: Any,
) -> None:
    """Enters `make(*args, dtype=dtype, **options)` for each dtype, float64 in x64 mode."""
    for dtype in dtypes:
        mode = "x64" if dtype == "float64" else "x32"
        add(f"{name}/{dtype}", make, *args, mode=mode, dtype=dtype, **options)
