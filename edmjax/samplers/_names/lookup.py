"""One table of names: what is read from its file, and how a name is found in it."""

import difflib
import functools
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ORIGINS = ("k-diffusion", "diffusers", "ComfyUI", "A1111")
OURS = "edmjax"


class Row(NamedTuple):
    """One entry of a table.

    Attributes:
        make: our function, a `partial` of it where the package's defaults differ from ours; None
            where there is none, and `note` says what to use instead.
        wrapper: a sampler that takes what `make` returns as its first argument, or None.
        names: the names in each of `ORIGINS`.
        note: what differs.
        in_time: the packages step in the flow's time where the model is a flow.
        flow_wrapper: the wrapper there, where it is another one.
        flow_note: why there is none for flows, or an empty text.
        run: what was run against the package and how far apart the samples were.
        choices: set where a name has several meanings: a sentence that lists them.
    """

    make: Callable[..., Any] | None
    wrapper: Callable[..., Any] | None = None
    names: tuple[list[str], ...] = ([],) * len(ORIGINS)
    note: str = ""
    in_time: bool = False
    flow_wrapper: Callable[..., Any] | None = None
    flow_note: str = ""
    run: str = ""
    choices: str = ""

    def meaning(self) -> Any:
        """Rows of one meaning make the same sampler, whatever options their wrapper has."""
        make, wrapper = self.make, self.wrapper
        if make is None:
            return self.note
        options: tuple[Any, ...] = ()
        if isinstance(make, functools.partial):
            make, options = make.func, tuple(sorted(make.keywords.items()))
        # A wrapper with options of its own, such as `churn(s_churn=0)`, is there for its options.
        return make, options, None if isinstance(wrapper, functools.partial) else wrapper

    def call(self) -> str:
        """The row's function as one calls it, such as `ancestral(euler())`."""

        def text(function: Callable[..., Any], *first: str) -> str:
            given: dict[str, Any] = {}
            if isinstance(function, functools.partial):
                function, given = function.func, function.keywords
            parameters = inspect.signature(function).parameters.values()
            needed = [p.name for p in parameters if p.default is p.empty and p.name not in given]
            arguments = [*first, *needed[len(first) :]]
            arguments += [f"{name}={value!r}" for name, value in given.items()]
            return f"{function.__name__}({', '.join(arguments)})"

        assert self.make is not None
        inner = text(self.make)
        return text(self.wrapper, inner) if self.wrapper else inner


class Names:
    """The table in `file` together with our own functions, by name; without them the names alone.

    Exact names win. Only where there is none are names matched loosely: without case, spaces,
    underscores, hyphens, then also without a leading "sample_" and a trailing "Scheduler".
    """

    def __init__(self, file: str, ours: Mapping[str, Callable[..., Any]] | None = None):
        table = tomllib.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))
        if ours is None:
            own = [entry["ours"] for entry in table["names"] if "ours" in entry]
            ours = dict.fromkeys([*own, *table["others"]], object)  # in place of a function
        self.rows: list[Row] = [_row(entry, ours) for entry in table["names"]]
        self.ours: Mapping[str, Callable[..., Any]] = ours
        told = [
            (name, row, origin)
            for row in self.rows
            for origin, names in zip(ORIGINS, row.names, strict=True)
            for name in names
        ]
        # Where a row gives our plain function its own name, it is ours, with the row's wrapper.
        plain = {name: row for name, row, _ in told if name in ours and row.make is ours[name]}
        own = [(name, plain.get(name, Row(function)), OURS) for name, function in ours.items()]
        self._told = {_key(name) for name, _, _ in told}
        self._spelled: list[dict[str, list[tuple[Row, str]]]] = [{}, {}, {}]
        self._names: dict[str, list[tuple[str, str]]] = {}  # by the loosest spelling
        for name, row, origin in [*own, *told]:
            spellings = (name, _key(name), _bare(_key(name)))
            for found, spelling in zip(self._spelled, spellings, strict=True):
                found.setdefault(spelling, []).append((row, origin))
            self._names.setdefault(spellings[-1], []).append((name, origin))

    def find(self, name: str, package: str | None = None) -> Row | None:
        """The row of `name`, in one package or in all, or None.

        Where it has several meanings, the row holds the sentence that says so.
        """
        rows = self._with_spelling(name, package)
        if len({row.meaning() for row, _ in rows}) < 2:
            return rows[0][0] if rows else None
        return Row(None, choices=_say(rows))

    def cuts(self, name: str) -> Iterator[tuple[str, str]]:
        """`name` cut in two such that a package has the second part, the longest first."""
        for i in range(1, len(name)):
            if name[i].isalnum() and _key(name[i:]) in self._told:
                yield name[:i].rstrip(" _-"), name[i:]

    def hint(self, *names: str, package: str | None = None) -> str:
        """A sentence: the name that is most like one of `names`, or else all of ours."""
        known = {
            spelling: mine[0]
            for spelling, named in self._names.items()
            if (mine := [name for name, origin in named if package in (None, origin)])
        }
        for name in names:
            others = self._with_spelling(name)
            if others:  # only where `package` is not among them
                return f"It is a name of {' and of '.join(dict.fromkeys(o for _, o in others))}."
            near = difflib.get_close_matches(_bare(_key(name)), known, n=1)
            if near:
                return f"Did you mean {known[near[0]]!r}?"
        return f"Ours are: {', '.join(sorted(self.ours))}."

    def _with_spelling(self, name: str, package: str | None = None) -> list[tuple[Row, str]]:
        """The rows of `name` and their packages, by the strictest spelling that finds some."""
        for found, spelling in zip(
            self._spelled, (name, _key(name), _bare(_key(name))), strict=True
        ):
            rows = [pair for pair in found.get(spelling, []) if package in (None, pair[1])]
            if rows:
                return rows
        return []


def package_of(package: str | None) -> str | None:
    """The name of a package as in `ORIGINS`, or of ours, whatever its spelling; checked."""
    if package is None:
        return None
    known = {_key(origin): origin for origin in (*ORIGINS, OURS)}
    if not isinstance(package, str) or _key(package) not in known:
        listed = ", ".join(repr(origin) for origin in known.values())
        raise ValueError(f"`package` must be one of {listed}, or None, got {package!r:.80}.")
    return known[_key(package)]


def _say(rows: list[tuple[Row, str]]) -> str:
    """The choices of a name: what it is in each package."""
    choices: dict[Any, tuple[Row, list[str]]] = {}
    for row, origin in rows:
        choices.setdefault(row.meaning(), (row, []))[1].append(origin)
    parts = []
    for row, origins in choices.values():
        what = f"`{row.call()}`" if row.make is not None else "none here"
        parts.append(f"{what} with package={' or '.join(map(repr, dict.fromkeys(origins)))}")
    return "; ".join(parts)


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
        entry.get("in_time", False),
        function("flow_wrapper", ""),
        entry.get("flow_note", ""),
        entry.get("run", ""),
    )


def _key(name: str) -> str:
    """`name` as it is compared: DPM++ 2M, dpmpp_2m and DPMpp-2M are one."""
    return re.sub(r"[\s_-]+", "", name.lower()).replace("+", "p")


def _bare(spelling: str) -> str:
    return spelling.removeprefix("sample").removesuffix("scheduler")
