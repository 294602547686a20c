"""What lies in a directory of diffusers: configurations, and arrays in safetensors files.

Nothing of a file but its header is read until every name and shape has been compared with what the
configuration calls for. Arrays are then read one at a time.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import describe

STEM = "diffusion_pytorch_model"
_PICKLES = (".bin", ".pkl", ".pt", ".pth", ".ckpt")
# By the names of a header; what a network is never made of (whole numbers, 8-bit floats) is not.
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}
_LONGEST_HEADER = 100_000_000


class Entry(NamedTuple):
    """Where an array lies: in which file, from which byte on."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int


def directory(source: object, name: str = "source") -> Path:
    """`source` as an existing directory.

    Raises:
        TypeError: it is not a path.
        ValueError: it does not exist, or is a file; pickles are refused by name.
    """
    if not isinstance(source, str | Path):
        raise TypeError(f"`{name}` must be the path of a directory, got {describe(source)}.")
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.suffix in _PICKLES:
        raise ValueError(_pickle(path))
    if not path.exists():
        raise ValueError(
            f"There is no directory {str(path)!r}. edmjax downloads nothing: fetch the files "
            "first, with `hf download` for example."
        )
    raise ValueError(f"{str(path)!r} is a file: give the directory that its config.json is in.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"There is no file {str(path)!r}.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as err:
        raise ValueError(f"{str(path)!r} is not JSON: {err}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} must hold a JSON object, got {content!r:.80}.")
    return content


# ---- which files hold the weights


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The safetensors files of a network, one or its shards.

    `variant` is the part of their names behind the stem, such as "fp16"; "" is none. With None
    there must be one choice.

    Raises:
        ValueError: no such file, files of which either could be meant, pickles alone, or an index
            that names a file that is missing.
    """
    found = _choices(folder)
    pickles = [path.name for path in sorted(folder.glob("*")) if path.suffix in _PICKLES]
    if not found:
        if pickles:
            raise ValueError(_pickle(folder / pickles[0]))
        raise ValueError(
            f"{str(folder)!r} has no {STEM}.safetensors, with or without a variant in its name, "
            "and no index of shards."
        )
    if variant is None:
        if len(found) > 1:
            raise ValueError(
                f"{str(folder)!r} has weights of more than one kind, {_listed(found)}: pass "
                f"`variant=`, one of {', '.join(map(repr, sorted(found)))}."
            )
        (variant,) = found
    if variant not in found:
        raise ValueError(f"{str(folder)!r} has no variant {variant!r}; it has {_listed(found)}.")
    if len(found[variant]) > 1:
        raise ValueError(
            f"{str(folder)!r} has both {found[variant][0].name} and {found[variant][1].name}, and "
            "either could be meant: keep one of the two."
        )
    (path,) = found[variant]
    return [path] if path.suffix == ".safetensors" else _shards(path)


def _choices(folder: Path) -> dict[str, list[Path]]:
    """For each variant its file, its index of shards, or both."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"{STEM}*.safetensors")):
        middle = path.name[len(STEM) : -len(".safetensors")]
        if "-of-" not in middle:  # one of several shards, which an index names
            found.setdefault(middle.lstrip("."), []).append(path)
    start = f"{STEM}.safetensors.index"
    for path in sorted(folder.glob(f"{start}*.json")):
        found.setdefault(path.name[len(start) : -len(".json")].lstrip("."), []).append(path)
    return found


def _shards(index: Path) -> list[Path]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{str(index)!r} has no `weight_map` from arrays to files.")
    paths = [index.parent / name for name in sorted(set(names.values()))]
    for path in paths:
        if path.parent != index.parent or path.name != Path(path.name).name or ".." in path.parts:
            raise ValueError(
                f"{str(index)!r} names a file outside of its directory, {path.name!r}."
            )
        if not path.is_file():
            raise ValueError(f"{str(index)!r} names the file {path.name!r}, which is missing.")
    held = [name for path in paths for name in header(path)]
    wrong = sorted(set(names) ^ set(held))
    if wrong or len(held) != len(set(held)):
        what = wrong[0] if wrong else "of some name twice"
        raise ValueError(
            f"{str(index)!r} and the files that it names disagree about the array {what!r}: one of "
            "them is of another download."
        )
    return paths


def _listed(found: Mapping[str, list[Path]]) -> str:
    return ", ".join(path.name for paths in found.values() for path in paths)


def _pickle(path: Path) -> str:
    return (
        f"{str(path)!r} is a pickle, and reading one runs whatever code is in it: convert it to "
        "safetensors where you trust it, as the page on pretrained networks shows."
    )


# ---- safetensors


def header(path: Path) -> dict[str, Entry]:
    """The arrays of a safetensors file, of which no byte is read.

    Raises:
        ValueError: the file is cut short, its header is not one, or an array has another dtype.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else -1
        if not 0 < length <= min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"{str(path)!r} is not a safetensors file, or is cut short.")
        try:
            content = json.loads(file.read(length))
            return dict(_entries(path, content, 8 + length, size))
        except (
            UnicodeDecodeError,
            json.JSONDecodeError,
            KeyError,
            TypeError,
            AttributeError,
        ) as err:
            raise ValueError(f"The header of {str(path)!r} is not that of safetensors.") from err


def _entries(
    path: Path, content: Mapping[str, Any], start: int, size: int
) -> Iterator[tuple[str, Entry]]:
    for name, about in content.items():
        if name == "__metadata__":
            continue
        if about["dtype"] not in _DTYPES:
            raise ValueError(
                f"{str(path)!r}: the array {name!r} has dtype {about['dtype']}, and edmjax reads "
                f"{', '.join(_DTYPES)}."
            )
        dtype, shape = np.dtype(_DTYPES[about["dtype"]]), tuple(map(int, about["shape"]))
        first, last = map(int, about["data_offsets"])
        if min(first, *shape, 0) < 0 or last - first != dtype.itemsize * int(np.prod(shape)):
            raise ValueError(f"{str(path)!r}: the array {name!r} has not the size of its shape.")
        if start + last > size:
            raise ValueError(
                f"{str(path)!r} is cut short: it has {size} bytes, and {name!r} ends at "
                f"{start + last}."
            )
        yield name, Entry(path, dtype, shape, start + first)


def read_array(entry: Entry) -> np.ndarray:
    """The array of an entry. (A map of the file would count in memory beside the arrays.)"""
    count = int(np.prod(entry.shape))
    flat = np.fromfile(entry.path, entry.dtype, count, offset=entry.start)
    return flat.reshape(entry.shape)
