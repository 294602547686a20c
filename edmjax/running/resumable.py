"""Runs that stop half-way and are resumed, in this process or in another, to the same bits."""

import dataclasses
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from edmjax._common.arguments import refuse, whole
from edmjax._common.arrays import has_tracers
from edmjax._common.exported import serializable
from edmjax._common.trees import argument_like
from edmjax._common.typing import Corrector, Denoiser, NoiseFunction, PyTree
from edmjax.noise.keys import is_typed
from edmjax.noise.paths import KeyLike
from edmjax.planning.table import PlanLike, check_plan
from edmjax.running.body import Body, Carry, run_rows
from edmjax.running.declared import Declared
from edmjax.running.one_plan import dispatch


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PartialSample:
    """A run that has made some of its evaluations: a pytree of arrays, which can be saved.

    `x` may be edited where a step starts, by `dataclasses.replace(half, x=...)`, and nothing else
    may. A sample that equals another one of the run is a copy of it, with its history, so samples
    can be permuted or resampled. A sample that equals none continues from its new point. In a
    multistep method it keeps the outputs of its former points. To move samples and then change
    them, move them, call `sample_until` with the same `stop`, and change the `x` that it returns.

    Attributes:
        x: the point that comes next, like the `x` of `sample`; the sample once `evaluation` is the
            plan's `nfe`.
        evaluation: int32, how many evaluations were made.
        held: what the loop carries, and `x` as the run left it.
        widths: int32, of the plan that began it: evaluations, history length, draws per row.
        marks: uint32, checksums of the plan, the key and the corrector; 0 where one was traced.
    """

    x: PyTree
    evaluation: Any
    held: Any
    widths: Any
    marks: Any


serializable(PartialSample, read=tuple)


def sample_until(
    denoise: Denoiser,
    plan: PlanLike,
    x: PyTree | PartialSample,
    key: KeyLike | None = None,
    *,
    stop: int,
    noise: PyTree = None,
    cond: PyTree = None,
    corrector: Corrector | None = None,
    remat: bool = False,
    batched: bool = True,
    progress: bool = False,
) -> PartialSample:
    """Runs until `stop` evaluations in total are made, and returns a state to resume from.

        half = ej.sample_until(denoise, plan, x, key, stop=10)
        leaves, tree = jax.tree.flatten(half)  # np.savez("half.npz", *leaves), or orbax
        x0 = ej.sample_until(denoise, plan, half, key, stop=plan.nfe).x

    The sample has the same bits wherever the run is cut, for every sampler, because one compiled
    program makes any part of a run. `ej.sample` compiles another program, so its sample may differ
    by roundings. There is no reverse-mode gradient: the number of evaluations is data.

    Args:
        denoise, plan, key, noise, cond, corrector, batched: as for `sample`, the same in each part.
        x: the point to start from, or the run to resume.
        stop: how many evaluations the run has made when it stops, counted from its beginning: at
            least the number already made, and at most `plan.nfe`.
        remat, progress: refused; `sample` takes them.

    Raises:
        TypeError: if `stop` is not an integer; and as `sample` raises.
        ValueError: if `stop` is out of range, the run was begun with another plan, key or
            corrector, its `x` was edited within a step or has another shape, or `remat` or
            `progress` is asked for; and as `sample` raises.
    """
    why = "the number of evaluations is data here; `ej.sample` takes it"
    refuse("sample_until", why, remat=remat, progress=progress)
    check_plan(plan)
    stop = whole(stop, "stop", least=0)
    # The state carries these sizes, so a state from a file is checked without the plan that began
    # it.
    widths = np.array([plan.nfe, *_widths(plan)], np.int32)
    begun = x if isinstance(x, PartialSample) else None
    done = np.int32(0) if begun is None else begun.evaluation
    if isinstance(done, Tracer):
        raise TypeError("A run cannot be resumed under `jit`: call `sample_until` outside of it.")
    if begun is not None and not np.array_equal(begun.widths, widths):
        raise ValueError(
            "This run was begun by a plan of other evaluations, history length or draws per row "
            f"({', '.join(map(str, np.asarray(begun.widths)))}; this one has "
            f"{', '.join(map(str, widths))}): resume it with the plan that began it."
        )
    # Resumed with another key or plan, a run would end in finite numbers that are not a sample.
    drawn = (key, noise) if callable(noise) else key
    marks = np.array([_mark(plan), _mark(drawn), _mark(corrector)], np.uint32)
    if begun is not None:
        for name, now, then in zip(("plan", "key", "corrector"), marks, begun.marks, strict=True):
            if now and then and now != then:
                raise ValueError(
                    f"This run was begun with another {name}: resumed with this one, it would give "
                    f"a sample that no single run gives. Pass the {name} that it was begun with."
                )
    if not int(done) <= stop <= plan.nfe:
        raise ValueError(
            "`stop` counts evaluations from the beginning of the run, so it must be from "
            f"{int(done)}, which were made, to {plan.nfe}, got {stop}."
        )
    arguments = (key, noise, cond, corrector)
    # The program that begins a run makes no evaluation: all of them are made by the other one.
    if begun is None:
        point, carry = dispatch(_begin, denoise, plan, x, *arguments, batched=batched)
        held = (carry, point)
    else:
        # A sample that is done has no history to move.
        point, held = begun.x, begun.held if done == plan.nfe else _edited(begun, plan, batched)
    if stop > done:
        rest = (None, *held, done, np.int32(stop))
        point, carry = dispatch(
            _resume, denoise, plan, point, *arguments, *rest, batched=batched, begins=False
        )
        held = (carry, point)
    return PartialSample(point, np.int32(stop), held, widths, marks)


def _edited(begun: PartialSample, plan: PlanLike, batched: bool) -> tuple[Carry, Any]:
    """What a run holds, once the history of its samples follows an edit of its points."""
    carry, before = begun.held
    x = argument_like(begun.x, before, "x", "the run")
    if has_tracers((x, before, plan.step)):
        return carry, before  # the edit is made in the loop, and no sample is looked for
    rows, former = _rows(x, batched), _rows(before, batched)
    if rows == former:
        return carry, before
    # Every run has started a step by its first evaluation, so there is one before this.
    starts, k = np.flatnonzero(np.diff(np.asarray(plan.step), prepend=-1)), int(begun.evaluation)
    if k not in starts:
        raise ValueError(
            f"The `x` of this run was edited after {k} evaluations, which is within a step, where "
            f"the point is not one of the flow: edit it where a step starts, after "
            f"{starts[starts < k].max()} evaluations."
        )
    if not batched:
        return carry, before
    places = {row: i for i, row in reversed(list(enumerate(former)))}
    pairs = enumerate(zip(rows, former, strict=True))
    source = np.array([i if row == old else places.get(row, i) for i, (row, old) in pairs])

    def moved(tree: PyTree, axis: int = 0) -> Any:
        return jax.tree.map(lambda leaf: jnp.take(jnp.asarray(leaf), source, axis=axis), tree)

    stacked = _widths(plan)[0] > 1
    return Carry(moved(carry.sums, int(stacked)), moved(carry.fresh)), moved(before)


def _rows(x: PyTree, batched: bool) -> list[bytes]:
    """The bits of each sample."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(x)]
    leaves = leaves if batched else [leaf[None] for leaf in leaves]
    return [b"".join(leaf[i].tobytes() for leaf in leaves) for i in range(len(leaves[0]))]


def _begin(
    denoise: Denoiser,
    corrector: Corrector | None,
    save: None,
    make: NoiseFunction | None,
    *arrays: Any,
    declared: Declared,
    batched: bool,
) -> tuple[Any, Carry]:
    options: dict[str, Any] = {"make": make, "corrector": corrector}
    options |= {"declared": declared, "batched": batched}
    body = Body(denoise, *arrays, **options)
    carry = body.start()
    return body.finish(carry, body.ends[0]), carry


def _resume(
    denoise: Denoiser,
    corrector: Corrector | None,
    save: None,
    make: NoiseFunction | None,
    *arrays: Any,
    declared: Declared,
    batched: bool,
) -> tuple[Any, Carry]:
    *of_sample, carry, before, begin, stop = arrays
    options: dict[str, Any] = {"make": make, "corrector": corrector}
    options |= {"declared": declared, "batched": batched}
    body = Body(denoise, *of_sample, **options)
    return run_rows(body, body.edited(carry, before), begin, stop)


def _widths(plan: PlanLike) -> tuple[int, int]:
    tables = [plan.y, plan.d] + ([] if plan.r is None else [plan.r])
    return max(table.shape[-1] for table in tables), plan.z.shape[-1]


def _mark(tree: PyTree) -> int:
    """A checksum of a tree: its arrays, and the type that holds them; 0 if one is traced."""
    leaves, treedef = jax.tree.flatten(tree)
    if has_tracers(leaves):
        return 0
    # The address of a function or an object differs in another process; its type's name does not.
    mark = zlib.crc32(f"{type(tree).__name__} {treedef.num_leaves}".encode())
    for leaf in leaves:
        if is_typed(leaf):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float):
            mark = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), mark)
    return mark or 1
