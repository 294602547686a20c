"""The options of a configuration: each with its default and a check, or a refusal by name.

A configuration lists what differs from the defaults, or everything. An option that
changes what is computed, and is not computed here, is refused with its value, before any array is
read.
"""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from edmjax._common.arguments import number, positive, whole


class Option(NamedTuple):
    """The value where a configuration is silent, and `check(value, name)` of any other."""

    default: Any
    check: Callable[[Any, str], Any]


def read(config: Mapping[str, Any], options: Mapping[str, Option], where: str) -> SimpleNamespace:
    """The options of a configuration; `where` is the file, for the messages.

    Raises:
        ValueError: an option that is not known, or a value that is not supported.
    """
    for name, value in config.items():
        # Names with an underscore are about the file; None is what an unknown option is without.
        if name not in options and not name.startswith("_") and value is not None:
            raise ValueError(
                f"{where} has the option {name!r} with the value {value!r:.80}, which edmjax does "
                f"not know{_version(config)}."
            )
    found = {}
    for name, option in options.items():
        value = config.get(name, option.default)
        try:
            found[name] = option.check(value, name)
        except (TypeError, ValueError) as err:
            raise ValueError(f"{where}: {err}") from None
    return SimpleNamespace(**found)


def _version(config: Mapping[str, Any]) -> str:
    if "Precond" in str(config.get("_class_name")):
        return " of such a network"
    said = config.get("_diffusers_version", "nothing")
    return f": it may be of a later version of diffusers (the file says {said!r:.20})"


# ---- checks


def count(value: Any, name: str) -> int:
    """A whole number from 1 on."""
    return whole(value, name)


def offset(value: Any, name: str) -> int:
    """A whole number from 0 on."""
    return whole(value, name, least=0)


def real(value: Any, name: str) -> float:
    return number(value, name)


def above_zero(value: Any, name: str) -> float:
    return positive(value, name)


def flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be true or false, got {value!r:.80}.")
    return value


def ignored(value: object, name: str) -> Any:
    """An option without effect on what is computed here, such as a dropout."""
    del name
    return value


def optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """`check`, or None."""
    return lambda value, name: None if value is None else check(value, name)


def several(check: Callable[[Any, str], Any], *, least: int = 1) -> Callable[[Any, str], Any]:
    """A list of `least` entries or more, each of which is checked by `check`."""

    def checked(value: Any, name: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) < least:
            raise ValueError(f"`{name}` must be a list, got {value!r:.80}.")
        return tuple(check(entry, f"{name}[{i}]") for i, entry in enumerate(value))

    return checked


def even_list(value: Any, name: str) -> tuple[float, ...]:
    """A list of an even number of numbers: the filter of an image that is halved or doubled."""
    found = several(real, least=2)(value, name)
    if len(found) % 2:
        raise ValueError(f"`{name}` must have an even number of entries, got {value!r:.80}.")
    return found


def either(*checks: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """The first check for one value, the last for a list of them."""
    return lambda value, name: checks[isinstance(value, list | tuple)](value, name)


def only(*known: Any) -> Callable[[Any, str], Any]:
    """One of these values; others are not supported."""

    def checked(value: Any, name: str) -> Any:
        # True is 1 to Python.
        if not any(
            value == one and isinstance(value, bool) == isinstance(one, bool) for one in known
        ):
            words = " or ".join(map(repr, known))
            raise ValueError(f"`{name}` is {value!r:.80}, and edmjax supports {words}.")
        return value

    return checked


def per_level(value: Any, levels: int, name: str) -> tuple[Any, ...]:
    """`value`, one or one a level, for each level."""
    if not isinstance(value, tuple):
        return (value,) * levels
    if len(value) != levels:
        raise ValueError(
            f"`{name}` has {len(value)} entries, and the network {levels} levels: {value!r:.80}."
        )
    return value
