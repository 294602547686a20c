"""The names that other packages give to what is here: a table, and how a name is found in it."""

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

ORIGINS = ("k-diffusion", "diffusers", "ComfyUI", "A1111")


class Row(NamedTuple):
    """One line of a table of names.

    Attributes:
        make: our function, a `partial` of it where the package's defaults differ from ours; None
            where there is none, and `note` says what to take instead.
        k_diffusion, diffusers, comfyui, a1111: the names there, separated by commas.
        note: what differs.
        wrapper: what `make`'s result is the first argument of, or None.
    """

    make: Callable[..., Any] | None
    k_diffusion: str = ""
    diffusers: str = ""
    comfyui: str = ""
    a1111: str = ""
    note: str = ""
    wrapper: Callable[..., Any] | None = None

    @property
    def names(self) -> list[list[str]]:
        """The names in each of `ORIGINS`."""
        cells = (self.k_diffusion, self.diffusers, self.comfyui, self.a1111)
        return [cell.split(", ") if cell else [] for cell in cells]


class Names:
    """A table together with our own names.

    A name spelled as ours is ours, then one spelled as a package spells it is that package's; only
    then are case, spaces, underscores, hyphens, a leading "sample_" and a trailing "Scheduler"
    ignored, in the same order.
    """

    def __init__(self, ours: Mapping[str, Callable[..., Any]], rows: Sequence[Row]):
        self.rows, self.ours = rows, ours
        told = [(name, row) for row in rows for names in row.names for name in names]
        # Where a row gives our plain function its own name, it is ours, with the row's wrapper.
        entries = [(name, row) for name, row in told if name in ours and row.make is ours[name]]
        entries += [(name, Row(function)) for name, function in ours.items()]
        entries += told
        self.told = {key(name) for name, _ in told}
        self.exact: dict[str, Row] = {}
        self.loose: dict[str, tuple[str, Row]] = {}
        for name, row in entries:
            self.exact.setdefault(name, row)
            self.loose.setdefault(key(name), (name, row))
        for name, row in entries:
            self.loose.setdefault(_bare(key(name)), (name, row))

    def find(self, name: str) -> Row | None:
        """The row of `name`, or None."""
        if name in self.exact:
            return self.exact[name]
        for spelling in (key(name), _bare(key(name))):
            if spelling in self.loose:
                return self.loose[spelling][1]
        return None

    def cuts(self, name: str) -> Iterator[tuple[str, str]]:
        """`name` cut in two such that a package has the second part, the longest first."""
        for i in range(1, len(name)):
            if name[i].isalnum() and key(name[i:]) in self.told:
                yield name[:i].rstrip(" _-"), name[i:]

    def hint(self, *names: str) -> str:
        """Our names, or where one is much like one of `names`, that alone; in a sentence."""
        for name in names:
            near = difflib.get_close_matches(_bare(key(name)), self.loose, n=1)
            if near:
                return f"Did you mean {self.loose[near[0]][0]!r}?"
        return f"Ours are: {', '.join(sorted(self.ours))}."

    def table(self) -> str:
        """The rows that have a function of ours, in Markdown."""
        lines = ["| edmjax | " + " | ".join(ORIGINS) + " | |", "| --- " * (len(ORIGINS) + 2) + "|"]
        for row in self.rows:
            if row.make is not None:
                cells = [", ".join(self._shown(name, row) for name in names) for names in row.names]
                lines.append(f"| `{call(row)}` | {' | '.join(cells)} | {row.note} |")
        return "\n".join(lines)

    def without(self) -> str:
        """The rows that have none, in Markdown."""
        lines = ["| name | from | |", "| --- | --- | --- |"]
        for row in self.rows:
            if row.make is None:
                origins = [o for o, names in zip(ORIGINS, row.names, strict=True) if names]
                # A name that several packages share is shown once.
                names = dict.fromkeys(self._shown(n, row) for names in row.names for n in names)
                lines.append(f"| {', '.join(names)} | {', '.join(origins)} | {row.note} |")
        return "\n".join(lines)

    def _shown(self, name: str, row: Row) -> str:
        return f"`{name}`" if self.find(name) is row else f"`{name}`\\*"


def key(name: str) -> str:
    """`name` as it is compared: DPM++ 2M, dpmpp_2m and DPMpp-2M are one."""
    return re.sub(r"[\s_-]+", "", name.lower()).replace("+", "p")


def _bare(spelling: str) -> str:
    return spelling.removeprefix("sample").removesuffix("scheduler")


def call(row: Row) -> str:
    """The row's function as one calls it, such as `ancestral(euler())`."""

    def text(function: Any, *first: str) -> str:
        given, plain = {}, function
        if isinstance(function, functools.partial):
            given, plain = function.keywords, function.func
        parameters = inspect.signature(function).parameters.values()
        needed = [p.name for p in parameters if p.default is p.empty]
        arguments = [*first, *needed[len(first) :]]
        arguments += [f"{name}={value!r}" for name, value in given.items()]
        return f"{plain.__name__}({', '.join(arguments)})"

    return text(row.wrapper, text(row.make)) if row.wrapper else text(row.make)
