"""Data of the library `datasets` (Hugging Face): a name on its hub, or files of its kinds."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edmjax._common.extras import missing
from edmjax.training.data.arrays import COND, from_arrays
from edmjax.training.data.dataset import Dataset
from edmjax.training.data.pictures import Files, pictures
from edmjax.training.data.rows import Rows, fits
from edmjax.training.errors import DataError

# Of the files that `load_dataset` reads: by the end of their names, the kind that it is told.
KINDS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}


def load_table(name: str, **options: Any) -> Dataset:
    """The data of `hf:NAME`: a directory or file where there is one of this name, or the hub's.

    A directory is one of `save_to_disk`, or what `datasets.load_dataset` reads. The part "train" is
    taken where there are several. `options` as for `from_table`.

    Raises:
        ImportError: `datasets` is not installed.
        DataError: nothing can be read, or `from_table` says what is wrong.
    """
    try:
        import datasets
    except ModuleNotFoundError as err:
        raise missing(err, f"{name}: reading it", "data") from err
    text = name.removeprefix("hf:")
    path = Path(text).expanduser()
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(path))
        elif path.is_file():
            kind = KINDS.get(path.suffix)
            if kind is None:
                raise DataError(f"{name}: files {', '.join(KINDS)} are read, and it is none.")
            found = datasets.load_dataset(kind, data_files=str(path))
        elif not path.exists() and (text.startswith((".", "/", "~")) or path.suffix in KINDS):
            raise DataError(f"{name}: there is no such file or directory.")
        else:
            found = datasets.load_dataset(str(path) if path.is_dir() else text)
    except DataError:
        raise
    except Exception as err:  # the library raises many kinds, some of its own
        said = f"{err}".strip().split("\n")[0] or type(err).__name__
        raise DataError(f"{name}: it cannot be read by `datasets`: {said}") from err
    return from_table(found, name, **options)


def from_table(
    table: Any,
    name: str,
    *,
    columns: str | None = None,
    size: int | None = None,
    in_memory: str | None = None,
    **options: Any,
) -> Dataset:
    """The data of a `datasets.Dataset`, or of the part "train" of a `DatasetDict`.

    The samples are the one column of images; where there is none, the column `x`, or the one column
    of arrays. The classes are the one column of `ClassLabel`, or whole numbers `y` or `label`.
    Conditions are the column `cond`, or those that `from_arrays` names. `columns` says it
    otherwise: names with commas between, of the samples first; of the others, whole numbers are
    classes and the rest are conditions.

    Raises:
        DataError: which column is which cannot be told, rows have several shapes, or a picture is
            damaged. The message begins with `name`.
    """
    if isinstance(table, Mapping):  # a DatasetDict
        if "train" not in table and len(table) != 1:
            raise DataError(f"{name}: it has the parts {', '.join(table)}, and no part train.")
        table = table["train"] if "train" in table else next(iter(table.values()))
    if not hasattr(table, "features") or not hasattr(table, "__len__"):
        raise DataError(f"{name}: it is read row after row alone: load it without streaming.")
    if not len(table):
        raise DataError(f"{name}: it has no rows.")
    kinds = {column: _kind(feature) for column, feature in table.features.items()}
    x, y, cond = _given(columns, kinds, name) if columns else _told(kinds, name)
    arrays: dict[str, Any] = {}
    if kinds[x] == "image":
        arrays["x"] = pictures(_Images(table, x, name), name, size, in_memory)
    else:
        if size is not None:
            raise DataError(f"{name}: data_size is for images; leave it out.")
        rows = _Column(table, x, name)
        whole = fits(int(np.prod(rows.shape)) * rows.dtype.itemsize, in_memory)
        arrays["x"] = np.asarray(rows) if whole else rows
    if y is not None:
        arrays["y"] = np.asarray(_Column(table, y, name))
    # Conditions by their kinds have the names that they have in an `.npz`.
    several = [] if columns else [column for column in COND if kinds.get(column)]
    for key, column in {"cond": cond, **{column: column for column in several}}.items():
        if column is not None and kinds[column] == "image":
            arrays[key] = pictures(_Images(table, column, name), name, size, "yes")
        elif column is not None:
            arrays[key] = np.asarray(_Column(table, column, name))
    return from_arrays(arrays, name, **options)


def _kind(feature: Any) -> str:
    """What a column may be: an image, an array, a class, a whole number, a number; or nothing."""
    kind = type(feature).__name__
    if kind == "Image":
        return "image"
    if kind == "ClassLabel":
        return "class"
    if kind.startswith("Array"):
        return "array"
    if kind in ("List", "LargeList", "Sequence"):
        inner = _kind(feature.feature)
        return "array" if inner in ("array", "whole", "number") else ""
    dtype = getattr(feature, "dtype", "")
    if dtype.startswith(("int", "uint", "bool")):
        return "whole"
    return "number" if dtype.startswith("float") else ""


def _told(kinds: dict[str, str], name: str) -> tuple[str, str | None, str | None]:
    """The columns of the samples, of their classes and of their conditions, by their kinds."""
    numbers = ("array", "number", "whole")
    conds = ("cond", *COND)
    images = [column for column, kind in kinds.items() if kind == "image" and column not in conds]
    arrays = [column for column, kind in kinds.items() if kind == "array" and column not in conds]
    if "x" in kinds and kinds["x"] in numbers:
        arrays = ["x"]
    found = images or arrays
    if len(found) != 1:
        raise _ambiguous("samples", found, kinds, name)
    classes = [column for column, kind in kinds.items() if kind == "class"]
    if not classes:
        classes = [column for column in ("y", "label") if kinds.get(column) == "whole"][:1]
    if len(classes) > 1:
        raise _ambiguous("classes", classes, kinds, name)
    cond = "cond" if kinds.get("cond") in (*numbers, "image") else None
    return found[0], classes[0] if classes else None, cond


def _given(columns: str, kinds: dict[str, str], name: str) -> tuple[str, str | None, str | None]:
    """The same, as the user names them."""
    x, *others = [column.strip() for column in columns.split(",")]
    for column in (x, *others):
        if not kinds.get(column) or (column == x and kinds[x] == "class"):
            raise DataError(
                f"{name}: data_columns names {column!r}, which is no column of images or numbers; "
                f"{_listed(kinds)}."
            )
    classes = [column for column in others if kinds[column] in ("class", "whole")]
    conds = [column for column in others if column not in classes]
    if len(classes) > 1 or len(conds) > 1:
        raise DataError(
            f"{name}: data_columns names the samples and then at most one column of classes and "
            f"one of conditions, got {columns}; {_listed(kinds)}."
        )
    return x, next(iter(classes), None), next(iter(conds), None)


def _ambiguous(what: str, found: list[str], kinds: dict[str, str], name: str) -> DataError:
    several = f"{len(found)} columns may be the {what}" if found else f"no column may be the {what}"
    return DataError(
        f"{name}: {several}; {_listed(kinds)}. Pass --data_columns SAMPLES, or SAMPLES,CLASSES."
    )


def _listed(kinds: dict[str, str]) -> str:
    words = {"": "other", "whole": "whole number"}
    columns = [f"{column} ({words.get(kind, kind)})" for column, kind in kinds.items()]
    return f"it has {', '.join(columns)}"


class _Images(Files):
    """The encoded pictures of a column."""

    def __init__(self, table: Any, column: str, name: str):
        import datasets

        stored = table.cast_column(column, datasets.Image(decode=False))
        self.table: Any = stored.with_format(None).select_columns(column)
        self.column: str = column
        self.where: str = name

    def __len__(self) -> int:
        return len(self.table)

    def name(self, index: int) -> str:
        found = self.table[index][self.column]
        if found is not None and found["bytes"] is None:  # in a file of its own
            return found["path"]
        return f"{self.where}: row {index}, column {self.column}"

    def open(self, index: int) -> Path | io.BytesIO:
        found = self.table[index][self.column]
        if found is None:
            raise ValueError("there is no picture")
        content = found["bytes"]
        return Path(found["path"]) if content is None else io.BytesIO(content)


def _dtype(feature: Any) -> np.dtype:
    """The dtype of the numbers of a column."""
    inner = getattr(feature, "feature", None)
    return np.dtype(feature.dtype) if inner is None else _dtype(inner)


class _Column(Rows):
    """The numbers of a column."""

    def __init__(self, table: Any, column: str, name: str):
        dtype = _dtype(table.features[column])
        # `datasets` reads whole numbers as int64 and floats as float32, unless it is told.
        wide = {"dtype": np.float64} if np.issubdtype(dtype, np.floating) else {}
        self.table: Any = table.select_columns(column).with_format("numpy", **wide)
        self.column: str = column
        self.name: str = name
        super().__init__((len(table), *np.shape(self.table[0][column])), dtype)

    def read(self, index: int) -> np.ndarray:
        return self[np.array([index])][0]

    def __getitem__(self, which: object) -> np.ndarray:
        if isinstance(which, int | np.integer):
            return self.read(int(which))
        chosen = np.arange(len(self))[which]  # pyright: ignore[reportArgumentType, reportCallIssue]
        if not chosen.size:
            return np.empty((*chosen.shape, *self.shape[1:]), self.dtype)
        flat = chosen.ravel()
        found = self.table[flat][self.column]
        if not isinstance(found, np.ndarray) or not self._alike(found.dtype):
            self._refuse(flat)
        found = np.asarray(found)
        if found.shape[1:] != self.shape[1:]:
            self._refuse(flat)
        return found.astype(self.dtype).reshape(*chosen.shape, *self.shape[1:])

    def _alike(self, dtype: np.dtype) -> bool:
        """Whether numbers of this dtype may be those of the column; what is missing is a float."""
        kinds = "iu" if self.dtype.kind in "iu" else self.dtype.kind
        return dtype.kind in kinds

    def _refuse(self, indices: np.ndarray) -> None:
        """Raises for the first row that is not as the first of all."""
        for index in map(int, indices):
            row = np.asarray(self.table[index][self.column])
            if row.shape != self.shape[1:] or not self._alike(row.dtype):
                wrong = f"has the shape {row.shape}, and row 0 has {self.shape[1:]}."
                if row.shape == self.shape[1:]:
                    wrong = f"holds {row.dtype} in place of {self.dtype}: is a number missing?"
                raise DataError(f"{self.name}: row {index}, column {self.column}, {wrong}")
        raise DataError(f"{self.name}: column {self.column} holds rows that are no array.")
