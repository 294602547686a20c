"""Data of the library `datasets`: which column is which, and what is wrong with a row."""

import builtins
import io

import numpy as np
import pytest
from PIL import Image

from edmjax.training import DataError, load_dataset
from edmjax.training.data.rows import Rows

datasets = pytest.importorskip("datasets")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
VECTORS = RNG.normal(size=(6, 5)).astype(np.float32)
CLASSES = [0, 2, 1, 0, 2, 1]


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """Without bars, and with the library's cache in a directory of the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def png(values):
    content = io.BytesIO()
    Image.fromarray(values).save(content, format="png")
    return {"bytes": content.getvalue(), "path": None}


def table(**columns):
    kinds = {
        "image": datasets.Image(),
        "other": datasets.Image(),
        "label": datasets.ClassLabel(names=["a", "b", "c"]),
        "fine": datasets.ClassLabel(num_classes=9),
        "vector": datasets.List(datasets.Value("float32"), length=5),
        "ragged": datasets.List(datasets.Value("float32")),
        "cond": datasets.List(datasets.Value("float32"), length=2),
        "cond_vector": datasets.List(datasets.Value("float32"), length=2),
        "cond_image": datasets.Image(),
        "volume": datasets.Array3D((2, 3, 4), "float32"),
        "y": datasets.Value("int64"),
        "text": datasets.Value("string"),
    }
    features = datasets.Features({name: kinds[name] for name in columns})
    return datasets.Dataset.from_dict(columns, features=features)


def pictures():
    return [png(values) for values in IMAGES]


def test_images_and_classes_of_a_saved_set_and_of_a_part_of_one(tmp_path):
    found = table(image=pictures(), label=CLASSES, text=[*"abcdef"])
    found.save_to_disk(tmp_path / "one")
    parts = datasets.DatasetDict({"test": found.select([0]), "train": found})
    parts.save_to_disk(tmp_path / "parts")
    for name in ("one", "parts"):
        data = load_dataset(f"hf:{tmp_path / name}")
        np.testing.assert_array_equal(data.images, IMAGES)
        np.testing.assert_array_equal(data.labels, CLASSES)
        assert data.num_classes == 3 and data.units.dtype == "uint8"
    small = load_dataset(f"hf:{tmp_path / 'one'}", size=4)
    assert small.image_shape == (4, 4, 3)
    lazy = load_dataset(f"hf:{tmp_path / 'one'}", in_memory="no")
    assert isinstance(lazy.images, Rows)
    np.testing.assert_array_equal(lazy.images[np.array([[3, 1]])], IMAGES[[[3, 1]]])


@pytest.mark.parametrize("in_memory", ["yes", "no"])
def test_vectors_with_conditions_in_parquet(tmp_path, in_memory):
    cond = RNG.normal(3, 2, (6, 2)).astype(np.float32)
    table(vector=VECTORS, cond=cond, y=CLASSES).to_parquet(tmp_path / "a.parquet")
    data = load_dataset(f"hf:{tmp_path / 'a.parquet'}", in_memory=in_memory)
    np.testing.assert_array_equal(data.images, VECTORS)
    np.testing.assert_array_equal(data.labels, CLASSES)
    expected = (cond - cond.mean(0)) / cond.std(0)
    np.testing.assert_allclose(data.cond["vector"], expected, rtol=1e-4, atol=1e-6)
    assert isinstance(data.images, Rows) == (in_memory == "no")


def test_conditions_by_their_kinds(tmp_path):
    vector = RNG.normal(3, 2, (6, 2)).astype(np.float32)
    found = table(image=pictures(), cond_image=pictures()[::-1], cond_vector=vector)
    found.save_to_disk(tmp_path / "a")
    data = load_dataset(f"hf:{tmp_path / 'a'}")
    np.testing.assert_array_equal(data.images, IMAGES)
    assert data.conditions is not None and data.cond is not None
    back = data.conditions.to_data(data.cond)
    np.testing.assert_array_equal(back["image"], IMAGES[::-1])
    np.testing.assert_allclose(back["vector"], vector, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float64", "bool"])
@pytest.mark.parametrize("kind", ["array", "list"])
def test_numbers_keep_their_dtype(dtype, kind, tmp_path):
    """The library itself reads int64 and float32, in which 1e9 + 0.5 is no number."""
    whole = RNG.integers(0, 2 if dtype == "bool" else 120, (6, 4, 5))
    values = (whole + 1e9 + 0.5 if dtype == "float64" else whole).astype(dtype)
    inner = datasets.List(datasets.List(datasets.Value(dtype)))
    feature = datasets.Array2D((4, 5), dtype) if kind == "array" else inner
    features = datasets.Features({"x": feature})
    datasets.Dataset.from_dict({"x": values.tolist()}, features).save_to_disk(tmp_path / "a")
    for in_memory in ("yes", "no"):
        data = load_dataset(f"hf:{tmp_path / 'a'}", in_memory=in_memory)
        assert data.units.dtype == dtype
        np.testing.assert_array_equal(data.images[np.arange(6)], values)


def test_a_number_that_is_missing_is_asked_about(tmp_path):
    rows = {"x": [[1, 2], [3, 4], [None, 5]]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "a")
    with pytest.raises(DataError, match=r"row 2, column x, holds .* is a number missing\?"):
        load_dataset(f"hf:{tmp_path / 'a'}")


def test_a_function_that_returns_a_set(tmp_path, monkeypatch):
    table(image=pictures(), label=CLASSES).save_to_disk(tmp_path / "a")
    text = "import datasets\nload = lambda: datasets.load_from_disk('a')\n"
    (tmp_path / "own_table.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    data = load_dataset("own_table:load", size=4, in_memory="no")
    assert data.image_shape == (4, 4, 3) and isinstance(data.images, Rows)
    np.testing.assert_array_equal(data.labels, CLASSES)


def test_a_local_folder_of_images(tmp_path):
    for i, values in enumerate(IMAGES):
        folder = tmp_path / "photos" / "train" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / f"{i}.png")
    data = load_dataset(f"hf:{tmp_path / 'photos'}")
    np.testing.assert_array_equal(data.images[data.labels == 0], IMAGES[::2])
    broken = tmp_path / "photos" / "train" / "a" / "2.png"
    broken.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=f"^{broken}: it is no image"):
        load_dataset(f"hf:{tmp_path / 'photos'}")


def test_columns_are_told_or_named(tmp_path):
    volume = RNG.normal(size=(6, 2, 3, 4))
    table(vector=VECTORS, volume=volume, fine=CLASSES, label=CLASSES).save_to_disk(tmp_path / "a")
    name = f"hf:{tmp_path / 'a'}"
    words = r"2 columns may be the samples; it has vector \(array\), .*--data_columns SAMPLES"
    with pytest.raises(DataError, match=f"^{name}: {words}"):
        load_dataset(name)
    data = load_dataset(name, columns="volume, fine")
    np.testing.assert_allclose(data.images, volume, rtol=1e-6)
    assert data.labels is not None and load_dataset(name, columns="vector").labels is None
    data = load_dataset(name, columns="volume,vector,label")
    assert data.cond is not None and data.num_classes == 3
    for columns, words in (
        ("volume,nothing", "data_columns names 'nothing', which is no column"),
        ("label", "data_columns names 'label'"),
        ("volume,label,fine", ".* at most one column of classes"),
    ):
        with pytest.raises(DataError, match=f"^{name}: {words}"):
            load_dataset(name, columns=columns)
    table(image=pictures(), label=CLASSES, fine=CLASSES).save_to_disk(tmp_path / "b")
    with pytest.raises(DataError, match="2 columns may be the classes"):
        load_dataset(f"hf:{tmp_path / 'b'}")


def bad(tmp_path):
    """Names of bad data, with the words that a message has after the name."""
    broken = pictures()
    broken[4]["bytes"] = broken[4]["bytes"][:60]
    table(image=broken).save_to_disk(tmp_path / "broken")
    yield "broken", ": row 4, column image: it (cannot be decoded|is no image)"
    table(image=[png(IMAGES[0]), png(IMAGES[0][:4])]).save_to_disk(tmp_path / "sizes")
    yield "sizes", ": its 2 images have 2 sizes"
    table(image=[png(IMAGES[0]), None]).save_to_disk(tmp_path / "missing")
    yield "missing", ": row 1, column image: it is no image"
    table(ragged=[[1.0, 2.0], [3.0, 4.0], [5.0]]).save_to_disk(tmp_path / "ragged")
    yield "ragged", r": row 2, column ragged, has the shape \(1,\), and row 0 has"
    nan = VECTORS.copy()
    nan[3, 1] = np.nan
    table(vector=nan).save_to_disk(tmp_path / "nan")
    yield "nan", " must be finite, and sample 3 on axis 0"
    table(image=pictures(), label=[0, -1, 0, 0, 0, 0]).save_to_disk(tmp_path / "label")
    yield "label", " has the label -1 at index 1"
    table(vector=VECTORS[:0]).save_to_disk(tmp_path / "empty")
    yield "empty", ": it (has no rows|cannot be read)"
    table(text=[*"ab"]).save_to_disk(tmp_path / "text")
    yield "text", r": no column may be the samples; it has text \(other\)"
    (tmp_path / "nothing").mkdir()
    yield "nothing", ": it cannot be read by `datasets`"
    yield "nowhere", ": there is no such file or directory"
    (tmp_path / "a.txt").write_text("a")
    yield "a.txt", ": files .parquet, .arrow"


def test_bad_data_begin_with_their_name(tmp_path):
    for name, words in bad(tmp_path):
        with pytest.raises(DataError, match=f"^hf:{tmp_path / name}{words}"):
            load_dataset(f"hf:{tmp_path / name}")


def test_a_name_on_the_hub_without_a_network():
    with pytest.raises(DataError, match=r"^hf:some/name: it cannot be read by `datasets`"):
        load_dataset("hf:some/name")


def test_without_the_library_the_sentence_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "datasets":
            raise ModuleNotFoundError("No module named 'datasets'", name="datasets")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"hf:a: .* needs 'datasets'.*'edmjax\[data\]'"):
        load_dataset("hf:a")
