"""One table of names: what is read from its file, and how a name is found in it."""

import difflib
import functools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ORIGINS = ("k-diffusion", "diffusers", "ComfyUI", "A1111")


class Row(NamedTuple):
    """One entry of a table.

    Attributes:
        make: our function, a `partial` of it where the package's defaults differ from ours; None
            where there is none, and `note` says what to use instead.
        wrapper: a sampler that takes what `make` returns as its first argument, or None.
        names: the names in each of `ORIGINS`.
        note: what differs.
    """

    make: Callable[..., Any] | None
    wrapper: Callable[..., Any] | None = None
    names: tuple[list[str], ...] = ([],) * len(ORIGINS)
    note: str = ""


class Names:
    """The table in `file` together with our own functions, by name; without them the names alone.

    Exact names of ours win, then exact names of the other packages. Only then are names matched
    loosely, in the same order: without case, spaces, underscores, hyphens, a leading "sample_" and
    a trailing "Scheduler".
    """

    def __init__(self, file: str, ours: Mapping[str, Callable[..., Any]] | None = None):
        table = tomllib.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))
        if ours is None:
            own = [entry["ours"] for entry in table["names"] if "ours" in entry]
            ours = dict.fromkeys([*own, *table["others"]], object)  # in place of a function
        self.rows: list[Row] = [_row(entry, ours) for entry in table["names"]]
        self.ours: Mapping[str, Callable[..., Any]] = ours
        told = [(name, row) for row in self.rows for names in row.names for name in names]
        # Where a row gives our plain function its own name, it is ours, with the row's wrapper.
        entries = [(name, row) for name, row in told if name in ours and row.make is ours[name]]
        entries += [(name, Row(function)) for name, function in ours.items()]
        entries += told
        self._told = {_key(name) for name, _ in told}
        entries.reverse()  # in a dict the last of a name stays
        keyed = {_key(name): (name, row) for name, row in entries}
        self._exact: dict[str, Row] = dict(entries)
        self._loose = {_bare(_key(name)): (name, row) for name, row in entries} | keyed

    def find(self, name: str) -> Row | None:
        """The row of `name`, or None."""
        if name in self._exact:
            return self._exact[name]
        for spelling in (_key(name), _bare(_key(name))):
            if spelling in self._loose:
                return self._loose[spelling][1]
        return None

    def cuts(self, name: str) -> Iterator[tuple[str, str]]:
        """`name` cut in two such that a package has the second part, the longest first."""
        for i in range(1, len(name)):
            if name[i].isalnum() and _key(name[i:]) in self._told:
                yield name[:i].rstrip(" _-"), name[i:]

    def hint(self, *names: str) -> str:
        """A sentence: the name that is most like one of `names`, or else all of ours."""
        for name in names:
            near = difflib.get_close_matches(_bare(_key(name)), self._loose, n=1)
            if near:
                return f"Did you mean {self._loose[near[0]][0]!r}?"
        return f"Ours are: {', '.join(sorted(self.ours))}."


def _row(entry: dict[str, Any], ours: Mapping[str, Callable[..., Any]]) -> Row:
    def function(name: str, options: str) -> Callable[..., Any] | None:
        if name not in entry:
            return None
        made = ours[entry[name]]
        return functools.partial(made, **entry[options]) if options in entry else made

    names = tuple(entry.get(origin, []) for origin in ORIGINS)
    return Row(
        function("ours", "options"),
        function("wrapper", "wrapper_options"),
        names,
        entry.get("note", ""),
    )


def _key(name: str) -> str:
    """`name` as it is compared: DPM++ 2M, dpmpp_2m and DPMpp-2M are one."""
    return re.sub(r"[\s_-]+", "", name.lower()).replace("+", "p")


def _bare(spelling: str) -> str:
    return spelling.removeprefix("sample").removesuffix("scheduler")
