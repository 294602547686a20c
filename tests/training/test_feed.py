"""Samples that are read when their step comes: those of a run in memory, and the same bits."""

import builtins

import jax
import numpy as np
import pytest
from PIL import Image
from support.runs import config

from edmjax import training
from edmjax.training import DataError, Dataset, load_dataset
from edmjax.training.data import rows
from edmjax.training.data.rows import Rows
from edmjax.training.feed import Feed

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 6, 8, 3)).astype(np.uint8)
NET = training.NetConfig(width=8, num_blocks=1, embed_dim=8)


def folder(path, images=IMAGES):
    for i, values in enumerate(images):
        (path / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path / "ab"[i % 2] / f"{i}.png")
    return str(path)


def array(path):
    path.mkdir()
    np.save(path / "a.npy", RNG.normal(5, 2, (30, 3)))
    return str(path / "a.npy")


KINDS = {"folder": folder, "array": array}


def feed_of(config, data, mesh=None):
    options = dict(labels=bool(config.net.classes), in_memory=config.data_in_memory)
    return Feed(data, config.seed, config.optim.batch_size, mesh, **options)


def batch_of(feed, step):
    """The batch of a step as a compiled call is given it, without the axis of steps."""
    examples, indices = feed.steps(step, step + 1)
    if examples is None:
        return jax.tree.map(lambda v: np.asarray(v[0]), indices)
    return jax.tree.map(lambda v: np.asarray(v)[np.asarray(indices[0])], examples)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mesh", [None, "data=4"])
def test_the_samples_of_a_step_are_those_in_memory(kind, mesh, tmp_path):
    pytest.importorskip("grain")
    name = KINDS[kind](tmp_path / "data")
    mesh = None if mesh is None else training.make_mesh(mesh)
    feeds = {}
    for how in ("yes", "no"):
        net = training.NetConfig(classes=kind == "folder")
        feeds[how] = feed_of(
            config(tmp_path, data=name, data_in_memory=how, net=net),
            load_dataset(name, in_memory=how),
            mesh,
        )
    for step in (0, 1, 2, 7, 3):  # of any step, after any other
        in_memory, read = (batch_of(feed, step) for feed in feeds.values())
        jax.tree.map(np.testing.assert_array_equal, in_memory, read)
        jax.tree.map(np.testing.assert_array_equal, feeds["no"].batch(step), read)
    assert feeds["no"].whole is None and feeds["yes"].whole is not None


def test_a_folder_is_decoded_as_it_is_read(tmp_path):
    lazy = load_dataset(folder(tmp_path), in_memory="no")
    whole = load_dataset(str(tmp_path), in_memory="yes")
    assert isinstance(lazy.images, Rows) and isinstance(whole.images, np.ndarray)
    np.testing.assert_array_equal(lazy.images, whole.images)
    np.testing.assert_array_equal(lazy.images[3], whole.images[3])
    np.testing.assert_array_equal(lazy.images[2:5], whole.images[2:5])
    np.testing.assert_array_equal(lazy.images[np.array([[4, 1]])], whole.images[[[4, 1]]])
    assert lazy.units.describe() == whole.units.describe() and lazy.widths == whole.widths
    standard = [load_dataset(str(tmp_path), in_memory=h, scale="standard") for h in ("no", "yes")]
    assert standard[0].units.describe() == standard[1].units.describe()


def test_what_fits_is_read_into_memory(tmp_path, monkeypatch):
    name = folder(tmp_path)
    assert isinstance(load_dataset(name).images, np.ndarray)
    monkeypatch.setattr(rows, "_free", lambda: 3.0 * IMAGES.nbytes - 3)
    lazy = load_dataset(name)
    assert isinstance(lazy.images, Rows)
    assert feed_of(config(tmp_path), lazy, None).whole is None
    assert feed_of(config(tmp_path, data_in_memory="yes"), lazy, None).whole is not None
    with pytest.raises(ValueError, match="`data_in_memory` must be 'auto', 'yes' or 'no'"):
        rows.fits(1, "maybe")


def test_free_memory_is_that_of_this_machine():
    psutil = pytest.importorskip("psutil")
    free = psutil.virtual_memory().available
    assert 0.5 * free < rows._free() < 2 * free


def test_without_grain_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "grain":
            raise ModuleNotFoundError("No module named 'grain'", name="grain")
        return real(name, *arguments, **options)

    data = Dataset.of(np.zeros((9, 2)))
    monkeypatch.setattr(builtins, "__import__", without)
    feed_of(config(tmp_path), data, None).steps(0, 1)
    with pytest.raises(ImportError, match=r"'edmjax\[data\]'. With --data_in_memory yes"):
        feed_of(config(tmp_path, data_in_memory="no"), data, None).steps(0, 1)


def test_a_damaged_header_is_noticed_before_the_first_step(tmp_path):
    name = folder(tmp_path)
    (tmp_path / "b" / "3.png").write_bytes(b"not a png")
    with pytest.raises(DataError, match=f"^{tmp_path / 'b' / '3.png'}: it is no image"):
        load_dataset(name, in_memory="no")


def broken(tmp_path):
    """A folder with a picture that is damaged behind its header, which a later step reads."""
    big = RNG.integers(0, 256, (10, 64, 64, 3)).astype(np.uint8)
    name = folder(tmp_path, big)
    path = tmp_path / "a" / "0.png"
    path.write_bytes(path.read_bytes()[:9000])
    return name, path


def test_a_file_that_fails_when_it_is_decoded_is_named(tmp_path):
    pytest.importorskip("grain")
    name, path = broken(tmp_path)
    data = load_dataset(name, in_memory="no")
    feed = feed_of(config(tmp_path, data_in_memory="no"), data, None)
    with pytest.raises(DataError, match=f"^{path}: it cannot be decoded"):
        feed.steps(0, 3)  # 12 of 10 samples


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_runs_end_with_the_same_bits(kind, tmp_path):
    pytest.importorskip("grain")
    name = KINDS[kind](tmp_path / "data")
    for how in ("yes", "no"):
        dit = training.NetConfig(name="dit", width=8, num_blocks=1, num_heads=1, patch=2)
        net = NET if kind == "array" else dit
        run = config(tmp_path / how, data=name, data_in_memory=how, net=net)
        training.train(run, load_dataset(name, in_memory=how), progress=False)
    for file in ("weights.safetensors", "loss.csv"):
        assert (tmp_path / "yes" / file).read_bytes() == (tmp_path / "no" / file).read_bytes()


@pytest.mark.thorough
def test_a_run_that_cannot_read_a_file_saves_its_state(tmp_path, monkeypatch):
    pytest.importorskip("grain")
    name = array(tmp_path / "data")
    data = load_dataset(name)
    read = Dataset.read

    def failing(self, which, **options):
        if failing.at in which:
            raise DataError("0.png: it cannot be decoded")
        return read(self, which, **options)

    failing.at = int(training.batch_indices(0, 5, 4, 30)[2])
    monkeypatch.setattr(Dataset, "read", failing)
    monkeypatch.setattr(Dataset, "widths", (1.0, 1.0, 1.0))
    run = config(tmp_path / "run", data=name, data_in_memory="no", net=NET)
    with pytest.raises(SystemExit, match=r"^0.png: it cannot be decoded$"), training.plain_errors():
        training.train(run, data, progress=False)
    steps = [int(path.name) for path in (tmp_path / "run" / "checkpoint").iterdir()]
    assert max(steps) == 4 and (tmp_path / "run" / "weights.safetensors").exists()
    monkeypatch.undo()
    training.train(run, data, progress=False)
