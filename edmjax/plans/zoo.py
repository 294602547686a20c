"""Plans that were published: learned weights and levels, each with its source and its network.

    plan = ej.plans.load("dyweight/cifar10/5")
    samples = ej.sample(denoise, plan, 80.0 * noise)

The folder `published/` has the numbers as their authors published them, levels in the units of
`sigma` or, of a flow, its times. A plan is made of them when it is asked for, by the sampler that
they are for. docs/zoo.md says how each does on other data than its own.
"""

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from edmjax import processes, samplers
from edmjax._common.arguments import one_of
from edmjax.planning import About, Plan, Sampler, make_plan
from edmjax.plans._solvers import dyweight, epd

_FOLDER = Path(__file__).parent / "published"


@dataclasses.dataclass(frozen=True)
class Published:
    """Where a plan of the zoo is from.

    Attributes:
        name: "family/network/nfe", as `load` takes it.
        network: the network that its numbers are for.
        nfe: the evaluations of the denoiser; with guidance one of these is two of the network.
        solver: the recursion that runs it.
        paper: who published it.
        source: where the numbers stand: a repository, a file in it and a commit.
        licence: the licence that the source gives to that file.
    """

    name: str
    network: str
    nfe: int
    solver: str
    paper: str
    source: str
    licence: str


def names() -> list[str]:
    """The names of all published plans, "family/network/nfe", sorted by network and length."""
    return sorted(_entries(), key=_order)


def load(name: str) -> Plan:
    """The published plan of this name, made of its numbers; `about.fitted_on` says their source.

    It runs between the levels that its authors chose, `plan.grid`, and starts from `plan.grid[0]`
    times standard normal noise. A plan of a flow holds its points in the scale of the flow and
    starts from its first time, most often 1, times the noise.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if no plan has this name.
    """
    entry, told = _entry(name), about(name)
    sampler, grid = _sampler(entry)
    if entry.get("process") == "flow":
        # The recursions are in the flow's time, and in its scale.
        levels = processes.flow().levels(np.array(grid))
        plan = make_plan(samplers.in_flow_time(sampler), levels)
    else:
        plan = make_plan(sampler, grid)
    text = f"{told.network}. {told.paper}. {told.source}. Licence: {told.licence}"
    return dataclasses.replace(plan, about=About(fitted_on=text))


def about(name: str) -> Published:
    """Where the plan of this name is from.

    Raises:
        TypeError: if `name` is not a string.
        ValueError: if no plan has this name.
    """
    entry = _entry(name)
    return Published(
        name=name,
        network=entry["network"],
        nfe=int(name.rsplit("/", 1)[1].rstrip("b")),
        solver=entry["solver"],
        paper=entry["paper"],
        source=f"{entry['repository']}, {entry['path']}, commit {entry['commit'][:12]}",
        licence=entry["licence"],
    )


def find(source: str | os.PathLike[str]) -> Plan:
    """The plan of a file, or of a name in the zoo where there is no such file.

    Raises:
        OSError: if there is neither, or the file cannot be read.
        ValueError: if the file is not a plan; if there are both; if there is no such file and
            `source` is close to a name of the zoo.
    """
    there = Path(source).exists()
    if isinstance(source, str) and source in _entries():
        if there:
            raise ValueError(
                f"{source} is a file and a published plan: write ./{source} for the file, or run "
                "this in another directory for the published one."
            )
        return load(source)
    if not there and isinstance(source, str) and source.split("/")[0] in _families():
        return load(source)  # says which names there are
    return Plan.load(source)


@functools.cache
def _entries() -> dict[str, dict[str, Any]]:
    """The numbers and the source of each plan, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(_FOLDER.glob("*.json")):
        family = json.loads(path.read_text(encoding="utf-8"))
        plans = family.pop("plans")
        found |= {name: family | entry for name, entry in plans.items()}
    return found


def _families() -> set[str]:
    return {name.split("/")[0] for name in _entries()}


def _entry(name: str) -> dict[str, Any]:
    if not isinstance(name, str):
        raise TypeError(f"`name` must be the name of a published plan, got {name!r:.80}.")
    if name in _entries():
        return _entries()[name]
    # The first part that is wrong is told: all names together would be too many to read.
    parts, below = name.split("/"), names()
    for k in range(1, min(len(parts), 3) + 1):
        head = "/".join(parts[:k])
        one_of(head, "name", dict.fromkeys("/".join(n.split("/")[:k]) for n in below))
        below = [n for n in below if n.split("/")[:k] == parts[:k]]
    raise ValueError(f"`name` must be family/network/nfe, such as {below[0]!r}, got {name!r:.80}.")


def _order(name: str) -> tuple[str, str, int, str]:
    family, network, nfe = name.split("/")
    return family, network, int(nfe.rstrip("b")), nfe


def _floats(values: list[Any]) -> list[Any]:
    """The numbers of a list, of lists too, as floats: JSON may write 80 for 80.0."""
    return [_floats(v) if isinstance(v, list) else float(v) for v in values]


def _sampler(entry: dict[str, Any]) -> tuple[Sampler, list[float]]:
    """The sampler of an entry, and the grid that it is for."""
    entry = {name: _floats(v) if isinstance(v, list) else v for name, v in entry.items()}
    levels: list[float] = entry["levels"]
    solver = entry["solver"]
    if solver == "dyweight":
        free = entry["free_first_step"]
        made = dyweight(levels, entry["weights"], entry["time_scale"], free)
        return made, [levels[0], *levels[1 + free :]]
    if solver == "epd":
        names = ("shares", "weights", "slope_scale", "time_scale", "order", "free_first_step")
        return epd(*(entry[name] for name in names)), levels
    if solver == "ipndm":
        return samplers.ipndm(entry["order"]), levels
    if solver == "dpmpp_2m":
        return samplers.dpmpp_2m(euler_at_final=entry.get("euler_at_final", False)), levels
    return samplers.euler(), levels
