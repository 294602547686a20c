"""Names and keywords of the last release, which work for one more and warn."""

import functools
import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def renamed(**keywords: str) -> Callable[[F], F]:
    """Decorates a function whose keyword `old` is now `new`: `@renamed(old="new")`."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            for old in options.keys() & keywords.keys():
                new = keywords[old]
                if new in options:
                    raise TypeError(
                        f"{function.__name__}() was given `{new}` and `{old}`, its former name: "
                        f"pass `{new}` alone."
                    )
                _warn(f"`{old}` of {function.__name__}() is now called `{new}`.")
                options[new] = options.pop(old)
            return function(*args, **options)

        return call  # type: ignore[return-value]

    return decorate


def now_keywords(*names: str) -> Callable[[F], F]:
    """Decorates a function whose keywords `names` were its last positional arguments, in order."""

    def decorate(function: F) -> F:
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
        positional = sum(kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            late = dict(zip(names, args[positional:], strict=False))
            if late and len(args) <= positional + len(names) and not late.keys() & options.keys():
                given = ", ".join(f"{name}=..." for name in late)
                _warn(f"{function.__name__}() takes these arguments by name: {given}.", "order")
                args, options = args[:positional], options | late
            return function(*args, **options)

        return call  # type: ignore[return-value]

    return decorate


def former_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names moved: `{"old": "edmjax.room.new"}`."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        owner, _, new = names[name].rpartition(".")
        _warn(f"{module}.{name} is now {names[name]}.")
        return getattr(importlib.import_module(owner), new)

    return find


def _warn(text: str, what: str = "name") -> None:
    warnings.warn(f"{text} The old {what} goes with version 0.3.", DeprecationWarning, stacklevel=3)
