"""Names and keywords of the last release, which work for one more and warn."""

import functools
import importlib
import inspect
import sys
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

        vars(call)["former_keywords"] = keywords  # for code that looks options up by name
        return call  # type: ignore[return-value]

    return decorate


def now_keywords(*names: str) -> Callable[[F], F]:
    """Decorates a function whose keywords `names` were its last positional arguments, in order."""

    def decorate(function: F) -> F:
        # Positions behind the present ones are those that the keywords had in the last release.
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


def renamed_words(option: str, **words: str) -> Callable[[F], F]:
    """Decorates a function whose `option` had other words: `@renamed_words("final", old="new")`."""

    def decorate(function: F) -> F:
        place = list(inspect.signature(function).parameters).index(option)

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            given = options.get(option, args[place] if place < len(args) else None)
            if isinstance(given, str) and given in words:
                new = words[given]
                _warn(f"{option}={given!r} of {function.__name__}() is now {option}={new!r}.")
                args = (*args[:place], new, *args[place + 1 :]) if option not in options else args
                options = options | {option: new} if option in options else options
            return function(*args, **options)

        return call  # type: ignore[return-value]

    return decorate


def dropped(
    option: str, instead: Callable[..., Any], says: str, *, place: int | None = None
) -> Callable[[F], F]:
    """Decorates a function that had the option `option`: calls with it are answered by `instead`.

    `says` is what to write now, `place` the position that the option had, if it was positional.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if place is not None and len(args) == place + 1:
                args, options = args[:place], options | {option: args[place]}
            if option not in options:
                return function(*args, **options)
            _warn(f"Instead of `{option}` of {function.__name__}() write {says}.", "option")
            return instead(*args, **options)

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
    level, frame = 1, sys._getframe()
    # At the line that called the function, whose decorators may be several.
    while frame is not None and frame.f_code.co_filename == __file__:
        level, frame = level + 1, frame.f_back
    text = f"{text} The old {what} goes with version 0.3."
    warnings.warn(text, DeprecationWarning, stacklevel=level)
