"""Plans as files: JSON that a person can read, and that loads to the same bits.

    {"format": "edmjax plan", "version": 1,
     "about": {"fitted_on": "", "validation_error": null, "budget": null, "sigma_range": null},
     "sigmas": {"dtype": "float64", "shape": [8], "values": [80.0, ...]}, ..., "sha256": "..."}

A float is written by its `repr`, the shortest text that reads as the same float; infinity, which
JSON lacks, is the string "inf". `sha256` is of the rest, as `json.dumps` writes it with its keys
sorted.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.core import Tracer

from edmjax._common.arguments import whole
from edmjax._common.typing import Arraylike

FORMAT, VERSION = "edmjax plan", 1
_OPTIONAL = ("r", "scale", "v")
_INTEGERS = ("step", "draws")
# Churn and restarts evaluate above the level of their step, by less than this.
FARTHEST = 10.0
LARGEST_WEIGHT = 1e30
_REMEDY = "make the plan again, or take another copy of the file"


@dataclasses.dataclass(frozen=True, eq=False)
class About:
    """What a plan was fitted on. All are equal: a description is no part of a compiled program.

    Attributes:
        fitted_on: the problem or the checkpoint, and the noises.
        validation_error: the error on noises that were not used for fitting, in the units of what
            the fit minimised.
        budget: the evaluations that the fit was allowed.
        sigma_range: (lowest, highest) noise level of the denoiser that it was fitted on.
    """

    fitted_on: str = ""
    validation_error: float | None = None
    budget: int | None = None
    sigma_range: tuple[float, float] | None = None

    # Static fields are part of the key of a compiled program: unequal descriptions would compile
    # the same numbers again.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, About)

    def __hash__(self) -> int:
        return hash(About)

    @staticmethod
    def of(fields: dict[str, Any]) -> "About":
        """From fields by name, checked."""
        given = dataclasses.asdict(About())
        for name in fields:
            if name not in given:
                raise TypeError(f"A plan is described by {', '.join(given)}; got {name!r:.80}.")
        text, error, budget, levels = (given | fields).values()
        if not isinstance(text, str):
            raise TypeError(f"`fitted_on` must be text, got {text!r:.80}.")
        if error is not None:
            error = _number(error, "validation_error")
        if budget is not None:
            budget = whole(budget, "budget")
        if levels is not None:
            levels = pair_of_levels(levels, "`sigma_range`")
        return About(text, error, budget, levels)

    def lines(self) -> list[str]:
        """What is known, as text."""
        says = [
            f"fitted on {printable(self.fitted_on)}" if self.fitted_on else "",
            "" if self.validation_error is None else f"validation error {self.validation_error:g}",
            "" if self.budget is None else f"budget {self.budget} evaluations",
            "" if self.sigma_range is None else "levels {:g} to {:g}".format(*self.sigma_range),
        ]
        said = "; ".join(part for part in says if part)
        return [said] if said else []


def printable(text: str, most: int = 500) -> str:
    """`text` as it may be written to a terminal: what is not printed, such as ESC, is escaped."""
    shown = text if len(text) <= most else f"{text[:most]}..."
    parts = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return "".join(parts)


def write_plan(path: str | os.PathLike[str], arrays: dict[str, Any], about: About) -> None:
    """Writes the arrays of a plan; until all of it is on the disk, an old file stays."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "about": dataclasses.asdict(about),
    }
    if about.sigma_range is not None:
        content["about"]["sigma_range"] = _numbers(np.array(about.sigma_range))
    for name, values in arrays.items():
        content[name] = None if values is None else _encoded(name, values)
    given = {name: np.asarray(v) for name, v in arrays.items() if v is not None}
    _check_shapes({name: v.shape for name, v in given.items()})
    if wrong := senseless(given):
        raise ValueError(f"This plan {wrong}: a plan like that makes no samples.")
    content["sha256"] = _checksum(content)
    lines = (f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in content.items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    # Written beside the old file and then renamed, which a file system does whole or not at all.
    path = _path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as err:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise type(err)(
            f"The plan could not be written to {path}: {err.strerror}. Choose another file."
        ) from err


def _path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or not Path(path).name:
        raise TypeError(f"A plan is kept in a file, such as 'plan.json', got {path!r:.80}.")
    return Path(path)


def read_plan(path: str | os.PathLike[str]) -> tuple[dict[str, Any], About]:
    """The arrays of a plan and what it was fitted on, from a file that `write` wrote."""
    path = _path(path)
    try:
        content = json.loads(path.read_bytes())
    except OSError as err:
        raise type(err)(f"There is no plan to read at {path}: {err.strerror}.") from err
    except (ValueError, RecursionError) as err:
        raise ValueError(
            f"{path} is damaged or no plan, as it is not JSON ({err}): {_REMEDY}."
        ) from err
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no plan: `Plan.save` writes one.")
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {content.get('version')!r:.80} of the format, and this edmjax "
            f"reads version {VERSION}: install the edmjax that wrote it, or make the plan again."
        )
    # Shapes before the checksum: a file that was cut short should say which array is cut.
    try:
        arrays = {name: _decoded(name, content[name]) for name in _shapes(0, 0)}
        given = {name: v for name, v in arrays.items() if v is not None}
        _check_shapes({name: v.shape for name, v in given.items()})
        if content.get("sha256") != _checksum(content):
            raise ValueError("its content is not what was written, by its checksum")
        if wrong := senseless(given):
            raise ValueError(f"the plan {wrong}")
        about = About.of(content["about"])
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        what = f"{err.args[0]!r} is missing" if isinstance(err, KeyError) else f"{err}".rstrip(".")
        raise ValueError(f"{path} is damaged: {what}; {_REMEDY}.") from err
    return arrays, about


def _encoded(name: str, values: Any) -> dict[str, Any]:
    if isinstance(values, Tracer):
        raise TypeError(
            f"`plan.{name}` is traced, and under jit it has no value: return the plan from the "
            "jitted function and save it outside."
        )
    values = np.asarray(values)
    if values.dtype.name not in _dtypes(name):
        raise TypeError(
            f"`plan.{name}` must be of dtype {' or '.join(_dtypes(name))}, got {values.dtype}."
        )
    if np.isnan(values).any() or (values == -math.inf).any():
        raise ValueError(f"`plan.{name}` holds NaN or -inf: a plan like that makes no samples.")
    return {"dtype": values.dtype.name, "shape": list(values.shape), "values": _numbers(values)}


def _numbers(values: np.ndarray) -> list[Any]:
    return ["inf" if value == math.inf else value for value in values.ravel().tolist()]


def _decoded(name: str, entry: Any) -> np.ndarray | None:
    if entry is None and name in _OPTIONAL:
        return None
    held: dict[str, Any] = entry if isinstance(entry, dict) else {}
    dtype, shape, values = (held.get(part, "") for part in ("dtype", "shape", "values"))
    lists = isinstance(values, list) and isinstance(shape, list)
    whole = lists and all(type(n) is int and n >= 0 for n in shape)
    if not whole or len(values) != math.prod(shape):
        raise ValueError(f"`{name}` does not hold what its shape says")
    if dtype not in _dtypes(name):
        raise ValueError(f"`{name}` cannot be of dtype {dtype!r:.80}")
    kinds = (int,) if name in _INTEGERS else (int, float)
    for value in values:
        # A float beyond the range of floats is read as infinity.
        sound = type(value) in kinds and math.isfinite(value)
        if not sound and not (value == "inf" and float in kinds):
            raise ValueError(f"`{name}` holds {value!r:.80}")
    return np.array([float(v) if v == "inf" else v for v in values], dtype).reshape(shape)


def _dtypes(name: str) -> tuple[str, ...]:
    return ("int32",) if name in _INTEGERS else ("float64", "float32")


def _shapes(nfe: int, steps: int) -> dict[str, tuple[int | str, ...]]:
    """The shape of each array; text stands for a width that arrays of one name share."""
    rows = nfe + 1
    return {
        "sigmas": (nfe,),
        "grid": (steps + 1,),
        "step": (nfe,),
        "y": (rows, "points"),
        "d": (rows, "outputs"),
        "z": (rows, "draws"),
        "draws": (rows, "draws"),
        "intervals": (rows, "draws", 2),
        "r": (rows, "raws"),
        "scale": (rows,),
        "v": (rows, "draws"),
    }


def _check_shapes(found: dict[str, Sequence[int]]) -> None:
    """Raises ValueError or KeyError where shapes by name are not those of one plan."""
    nfe, steps = math.prod(found["sigmas"]), math.prod(found["grid"]) - 1
    sizes: dict[str, int] = {}
    for name, wanted in _shapes(nfe, steps).items():
        if name in _OPTIONAL and name not in found:
            continue
        shape = found[name]
        same = len(shape) == len(wanted) and all(
            n == (w if isinstance(w, int) else sizes.setdefault(w, n))
            for n, w in zip(shape, wanted, strict=True)
        )
        if not same or nfe < 1 or steps < 1:
            raise ValueError(
                f"a plan of {nfe} evaluations in {steps} steps has no `{name}` of shape "
                f"{list(shape)}"
            )


def senseless(arrays: dict[str, np.ndarray]) -> str | None:
    """What is wrong with the numbers of a plan, of the right shapes; None where nothing is."""
    for name, values in arrays.items():
        # The first level may be infinite, and so may the level from which a path is drawn.
        allowed = name == "intervals" or (name == "grid" and np.isfinite(values[1:]).all())
        if np.isnan(values).any() or not (allowed or np.isfinite(values).all()):
            return f"holds numbers in `{name}` that are not finite"
        if name in ("sigmas", "grid", "intervals", "scale") and (values < 0).any():
            return f"holds {values.min():g} in `{name}`, which is not negative in any plan"
    grid, step, draws = (arrays[name] for name in ("grid", "step", "draws"))
    if not ((grid[1:] < grid[:-1]).all() or (grid[1:] > grid[:-1]).all()):
        return "has a `grid` that goes neither down throughout nor up"
    highest, sigmas = grid.max(), arrays["sigmas"]
    if not sigmas.any() or sigmas.max() > FARTHEST * highest:
        return f"has `sigmas` up to {sigmas.max():g}, and a `grid` up to {highest:g}"
    for name in ("y", "d", "z"):
        if np.abs(arrays[name]).max(initial=0.0) > LARGEST_WEIGHT:
            return f"holds {np.abs(arrays[name]).max():g} in `{name}`, which no sampler gives"
    if step[0] != 0 or (np.diff(step) < 0).any() or step[-1] > len(grid) - 2:
        return f"has numbers in `step` that are not those of {len(grid) - 1} steps in order"
    if draws.size and not (draws.min() >= -1 and draws.max() < draws.size):
        return f"numbers its draws beyond the {draws.size} that it has room for"
    return None


def _checksum(content: dict[str, Any]) -> str:
    # Of the numbers as text: it changes with any bit of a float, as `repr` is exact.
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be a number, got {value!r:.80}.") from None
    if not math.isfinite(number):
        raise ValueError(f"`{name}` must be finite, got {value!r:.80}.")
    return number


def pair_of_levels(levels: Arraylike, name: str) -> tuple[float, float]:
    """Two noise levels, the lower one first."""
    try:
        low, high = (float(level) for level in iter(levels))  # type: ignore[reportArgumentType]
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0 <= low < high:
        raise ValueError(f"{name} must be (lowest, highest) noise level, got {levels!r:.80}.")
    return low, high
