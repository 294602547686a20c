"""How the entries of a configuration are checked when it is made, from a file or in Python."""

import typing
from typing import Any

from edmjax import scalar
from edmjax._common.arguments import as_seed, one_of, real, whole


class Entries:
    """Checks the fields of a configuration, named `group.field`, and stores what it makes of them.

    A field whose annotation allows None may be None. What is stored is what YAML and JSON give
    back: a Python number for NumPy's, a list for a tuple. Errors are those of `_numbers`.
    """

    def __init__(self, config: Any, group: str = ""):
        self.config, self.prefix = config, f"{group}." if group else ""
        self.hints = typing.get_type_hints(type(config))

    def wholes(self, *fields: str, least: int = 1) -> None:
        self._each(fields, lambda value, name: whole(value, name, least=least))

    def seeds(self, *fields: str) -> None:
        self._each(fields, as_seed)

    def reals(self, *fields: str, **limits: float | int) -> None:
        self._each(fields, lambda value, name: real(value, name, **limits))

    def flags(self, *fields: str) -> None:
        self._each(fields, scalar.flag)

    def names(self, *fields: str) -> None:
        """One of the names in the annotation, `Literal["a", "b"]`."""
        for field in fields:
            parts = [self.hints[field], *typing.get_args(self.hints[field])]
            literal = next(part for part in parts if typing.get_origin(part) is typing.Literal)
            known = typing.get_args(literal)
            self._each([field], lambda value, name, known=known: one_of(value, name, known))

    def texts(self, *fields: str) -> None:
        def text(value: Any, name: str) -> str:
            if not isinstance(value, str):
                raise TypeError(f"`{name}` must be text, got {value!r:.80}.")
            return value

        self._each(fields, text)

    def parts(self, **kinds: type) -> None:
        """Configurations within this one."""
        for field, kind in kinds.items():
            value = getattr(self.config, field)
            if not isinstance(value, kind):
                raise TypeError(
                    f"`{self.prefix}{field}` must be `{kind.__name__}(...)`, got {value!r:.80}."
                )

    def whole_lists(self, *fields: str, least: int = 1) -> None:
        """Lists of one integer or more; where the annotation allows it, one integer alone."""

        def one_or_list(value: Any, name: str) -> Any:
            lists = isinstance(value, list | tuple)
            if not lists and int in typing.get_args(self.hints[name.removeprefix(self.prefix)]):
                return whole(value, name, least=least)
            return self._list(value, name, lambda v, n: whole(v, n, least=least))

        self._each(fields, one_or_list)

    def real_lists(self, *fields: str, **limits: float | int) -> None:
        """Lists of one number or more."""

        def each(value: Any, name: str) -> list[float]:
            return self._list(value, name, lambda v, n: real(v, n, **limits))

        self._each(fields, each)

    def _list(self, value: Any, name: str, check: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise TypeError(f"`{name}` must be a list, got {value!r:.80}.")
        if not value:
            null = " or null" if self._optional(name.removeprefix(self.prefix)) else ""
            raise ValueError(f"`{name}` is empty: name one number or more{null}.")
        return [check(one, f"{name}[{i}]") for i, one in enumerate(value)]

    def _each(self, fields: Any, check: Any) -> None:
        for field in fields:
            value = getattr(self.config, field)
            if value is None and self._optional(field):
                continue
            # The configurations are frozen.
            object.__setattr__(self.config, field, check(value, f"{self.prefix}{field}"))

    def _optional(self, field: str) -> bool:
        return type(None) in typing.get_args(self.hints[field])
