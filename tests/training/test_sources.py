"""Data by name: files, directories of images, functions of the user's; and mistakes in them."""

import sys

import numpy as np
import pytest
from PIL import Image

from edmjax.training import Config, DataError, Dataset, TrainingWarning, load_dataset
from edmjax.training.configured import prepared

RNG = np.random.default_rng(0)


def picture(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


def bytes_of(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def test_a_file_of_one_array(tmp_path):
    data = RNG.normal(size=(30, 4, 5))
    np.save(tmp_path / "a.npy", data)
    dataset = load_dataset(str(tmp_path / "a.npy"))
    np.testing.assert_array_equal(dataset.images, data)
    assert dataset.image_shape == (4, 5, 1) and dataset.num_classes == 0


def test_a_file_with_classes_and_conditions(tmp_path):
    x, cond = bytes_of(30, 4, 4, 3), 5 + 2 * RNG.normal(size=(30, 6))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(30) % 4, cond=cond)
    dataset = load_dataset(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(dataset.images, x)
    np.testing.assert_array_equal(dataset.labels, np.arange(30) % 4)
    expected = (cond - cond.mean(0)) / cond.std(0)
    np.testing.assert_allclose(dataset.cond["vector"], expected, rtol=1e-5, atol=1e-6)
    assert dataset.num_classes == 4


@pytest.mark.parametrize("suffix, options", [("png", {}), ("webp", {"lossless": True})])
def test_a_directory_of_images(tmp_path, suffix, options):
    images = bytes_of(5, 6, 8, 3)
    for i, values in enumerate(images):
        picture(tmp_path / f"{i}.{suffix}", values, **options)
    (tmp_path / ".DS_Store").write_bytes(b"a")
    (tmp_path / "README.txt").write_text("a")
    dataset = load_dataset(str(tmp_path))
    np.testing.assert_array_equal(dataset.images, images)
    assert dataset.labels is None and dataset.image_shape == (6, 8, 3)


def test_jpeg_is_read_as_pillow_reads_it(tmp_path):
    picture(tmp_path / "a.jpg", bytes_of(8, 8, 3))
    expected = np.asarray(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(load_dataset(str(tmp_path)).images[0], expected)


def test_a_sub_folder_is_a_class(tmp_path):
    for name, value in (("cat", 10), ("dog", 200), ("ant", 90)):
        for i in range(2):
            picture(tmp_path / name / "deeper" / f"{i}.png", np.full((4, 4), value, np.uint8))
    dataset = load_dataset(str(tmp_path))
    np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(dataset.images[:, 0, 0, 0], [90, 90, 10, 10, 200, 200])


def test_modes(tmp_path):
    grey, colour = bytes_of(4, 4), bytes_of(4, 4, 3)
    picture(tmp_path / "grey" / "a.png", grey)
    assert load_dataset(str(tmp_path / "grey")).image_shape == (4, 4, 1)
    picture(tmp_path / "mixed" / "a.png", grey)
    picture(tmp_path / "mixed" / "b.png", np.dstack([colour, bytes_of(4, 4)]))
    Image.fromarray(colour).quantize(8).save(tmp_path / "mixed" / "c.png")
    mixed = load_dataset(str(tmp_path / "mixed"))
    np.testing.assert_array_equal(mixed.images[0], np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(mixed.images[1], colour)
    deep = RNG.integers(0, 65536, (4, 4)).astype(np.uint16)
    picture(tmp_path / "deep" / "a.png", deep)
    found = load_dataset(str(tmp_path / "deep"))
    np.testing.assert_array_equal(found.images[0, ..., 0], deep)
    assert found.units.dtype == "uint16"


def test_a_camera_that_was_turned(tmp_path):
    image = Image.fromarray(bytes_of(4, 8, 3))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    image.save(tmp_path / "a.png", exif=exif)
    assert load_dataset(str(tmp_path)).image_shape == (8, 4, 3)


def test_sizes_are_counted_or_made_one(tmp_path):
    for i in range(3):
        picture(tmp_path / f"{i}.png", np.full((8, 8, 3), 50, np.uint8))
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200  # the middle
    picture(tmp_path / "wide.png", wide)
    words = r"4 images have 2 sizes: 3 of 8x8, 1 of 24x8.*--data_size 8"
    with pytest.raises(DataError, match=words):
        load_dataset(str(tmp_path))
    dataset = load_dataset(str(tmp_path), size=8)
    np.testing.assert_array_equal(dataset.images[3], np.full((8, 8, 3), 200))
    assert load_dataset(str(tmp_path), size=4).image_shape == (4, 4, 3)


OWN = """
import numpy as np
from edmjax.training import Dataset

array = lambda: np.ones((9, 2)) * np.arange(9)[:, None]
whole = lambda: {"x": array(), "y": np.arange(9) % 3}
made = lambda: Dataset.of(array(), name="mine")
nothing = lambda: None
"""


def test_a_function_of_the_users_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_data.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    for name in ("array", "whole", "made"):
        dataset = load_dataset(f"my_data:{name}")
        np.testing.assert_array_equal(dataset.images[:, 1], np.arange(9))
        assert isinstance(dataset, Dataset)
    for name, words in (
        ("my_data:nothing", "my_data:nothing must return a `Dataset`, an array"),
        ("my_data:other", "my_data:other: my_data has no other"),
        ("no_data:load", "no_data:load: there is no module no_data"),
    ):
        with pytest.raises(DataError, match=f"^{words}"):
            load_dataset(name)


def test_a_module_that_lacks_another_is_no_missing_module(tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text("import nowhere_at_all")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        load_dataset("lacking:load")


def test_classes_are_found_behind_links_and_not_in_hidden_folders(tmp_path):
    good = bytes_of(4, 4, 3)
    for name in ("b/1.png", "b/deep/2.png", ".ipynb_checkpoints/3.png", "b/.thumbs/4.png"):
        picture(tmp_path / "data" / name, good)
    picture(tmp_path / "elsewhere" / "5.png", good)
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "b" / "again").symlink_to(tmp_path / "data")  # leads back
    assert load_dataset(str(tmp_path / "data")).labels.tolist() == [0, 1, 1]


def test_folders_that_are_numbers_are_in_their_order(tmp_path):
    for number in range(12):
        picture(tmp_path / str(number) / "a.png", np.full((4, 4), number, np.uint8))
    dataset = load_dataset(str(tmp_path))
    np.testing.assert_array_equal(dataset.images[:, 0, 0, 0], dataset.labels)


def test_images_of_other_kinds_are_not_left_out_in_silence(tmp_path):
    for name in ("a.png", "b.bmp", "c.BMP", "d.tiff"):
        picture(tmp_path / name, bytes_of(4, 4, 3))
    (tmp_path / "labels.csv").write_text("a")
    with pytest.warns(TrainingWarning, match=r"2 \.bmp, 1 \.tiff are left out: files \.png"):
        assert len(load_dataset(str(tmp_path))) == 1


def test_grey_of_16_bits_is_not_mixed_with_8(tmp_path):
    """Pillow would make white of nearly all of it, or leave the others nearly black."""
    picture(tmp_path / "a.png", bytes_of(4, 4))
    picture(tmp_path / "b.png", bytes_of(4, 4).astype(np.uint16) * 257)
    with pytest.raises(DataError, match=r"^.*b.png: it has grey .* 1 of 2 images"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize("name, words", [
    ("given", r"without arguments, got the function 'given' \(missing a required argument: 'a'\)"),
    ("array", r"must be a function without arguments, got an array of float64\[3\]"),
    ("text", r"must return a `Dataset`, .* got list \[array\(\[\[0\., 0\.\], \[0\., 0\.\]\]\)"),
    ("trees", "a sample is several arrays, .* ej.training.fit"),
])  # fmt: skip
def test_a_function_that_is_none_is_a_sentence(name, words, tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text(
        "import numpy as np\nfrom edmjax.training import Dataset\narray = np.zeros(3)\n"
        "def given(a): return a\ndef text(): return [np.zeros((2, 2))]\n"
        "def trees(): return Dataset.of({'a': array, 'b': array}, name='odd:trees')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "odd", raising=False)
    with pytest.raises(DataError, match=f"^odd:{name}.*{words}"):
        prepared(Config(), load_dataset(f"odd:{name}"))


def damaged(tmp_path):
    """Paths of bad data with the words that a message has after the name of the file."""
    good = bytes_of(3, 4, 4, 3)
    np.save(tmp_path / "nan.npy", np.array([[1.0], [np.nan]]))
    yield "nan.npy", "must be finite, and sample 1 on axis 0"
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    yield "objects.npy", ": it cannot be read"
    (tmp_path / "cut.npy").write_bytes((tmp_path / "nan.npy").read_bytes()[:-3])
    yield "cut.npy", ": it cannot be read"
    np.savez(tmp_path / "names.npz", images=good)
    yield "names.npz", ": it must hold the samples as `x`.*it holds images"
    np.savez(tmp_path / "labels.npz", x=good, y=[0, -1, 2])
    yield "labels.npz", "has the label -1 at index 1"
    (tmp_path / "empty").mkdir()
    yield "empty", ": it has no images"
    (tmp_path / "text.csv").write_text("1,2,3")
    yield "text.csv", ": data files are .npy and .npz"
    yield "nowhere.npy", ": there is no such file"
    (tmp_path / "text.npy").write_text("1,2,3")
    yield "text.npy", ": it cannot be read: it holds Python objects, or is no file of NumPy"
    for name, values in zip("abc", good, strict=True):
        picture(tmp_path / "broken" / f"{name}.png", values)
    whole = (tmp_path / "broken" / "b.png").read_bytes()
    (tmp_path / "broken" / "b.png").write_bytes(whole[: len(whole) // 2])
    yield "broken/b.png", ": it (cannot be decoded|is no image that can be read)"
    picture(tmp_path / "no_header" / "a.png", good[0])
    (tmp_path / "no_header" / "b.png").write_bytes(b"not a png")
    yield "no_header/b.png", ": it is no image"
    picture(tmp_path / "both" / "a.png", good[0])
    picture(tmp_path / "both" / "class" / "a.png", good[0])
    yield "both", ": 1 images lie in it and 1 in sub-folders"


def test_bad_data_begin_with_the_name_of_the_file(tmp_path):
    for name, words in damaged(tmp_path):
        parent = name.split("/")[0]
        path = str(tmp_path / parent)
        with pytest.raises(DataError, match=f"^{tmp_path / name}.*{words}"):
            load_dataset(path)


def test_options_that_do_not_belong(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    with pytest.raises(DataError, match=r"a.npy: data_size is for directories of images"):
        load_dataset(str(tmp_path / "a.npy"), size=8)
    with pytest.raises(DataError, match="digits: data_scale is its own"):
        load_dataset("digits", scale="none")
    with pytest.raises(DataError, match=r"^digit: there is no such file .* you mean 'digits'"):
        load_dataset("digit")
