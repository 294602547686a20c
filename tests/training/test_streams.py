"""Batches from the user's own functions and iterators: the same after an interruption."""

import sys
from typing import Any

import numpy as np
import pytest
from support.runs import config

from edmjax import training
from edmjax.training import DataError, TrainingWarning, load_dataset, loop
from edmjax.training.data import streams
from edmjax.training.outputs import read_losses

NET = training.NetConfig(width=8, num_blocks=1, embed_dim=8)
OWN = """
import numpy as np

def data(step, n=4):
    rng = np.random.default_rng(step)
    return {"x": rng.normal(5, 2, (n, 3)).astype(np.float32), "y": rng.integers(0, 3, n)}

def by_step():
    return data

def plain():
    return (data(step) for step in range(100))

def short():
    return (data(step) for step in range(6))

def no_batches():
    return iter(())

def bad(step):
    found = data(step)
    if step == 1500:
        found["x"][2, 0] = np.nan
    return found

def bad_later():
    return bad

def scalars():
    return lambda step: np.float32(step)

def listed():
    return lambda step: [np.zeros((4, 3))]

def grain_mapped():
    import grain
    return grain.MapDataset.range(400).seed(3).shuffle().repeat().map(
        lambda i: data(int(i), 1)["x"][0]).batch(4)

class Source:
    def __repr__(self):  # Grain compares it when it is resumed
        return "Source"

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return data(int(index), 1)["x"][0]

def grain_loader():
    import grain
    sampler = grain.samplers.IndexSampler(20, grain.sharding.NoSharding(), True, None, seed=1)
    return grain.DataLoader(data_source=Source(), sampler=sampler, worker_count=0,
                            operations=[grain.transforms.Batch(4)])
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`load_dataset` of a function of the module above, of which few samples are measured."""
    name = f"streams_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(streams, "FIRST", 64)
    yield lambda function, **options: load_dataset(f"{name}:{function}", **options)
    sys.modules.pop(name, None)


def test_units_are_measured_on_the_first_batches(load):
    data = load("by_step")
    module = sys.modules[data.name.partition(":")[0]]
    first: Any = np.concatenate([module.data(step)["x"] for step in range(16)])
    np.testing.assert_array_equal(data.images, first)
    np.testing.assert_allclose(data.units.shift, first.mean(0), rtol=1e-6)
    np.testing.assert_allclose(data.units.width, first.std(0), rtol=1e-6)
    assert data.num_classes == 3
    taken = data.stream.take(data, 70, 4, labels=True)
    expected = (module.data(70)["x"] - first.mean(0)) / first.std(0)
    np.testing.assert_allclose(taken.images, expected, atol=1e-5)
    np.testing.assert_array_equal(taken.labels, module.data(70)["y"])
    assert load("by_step", scale="none").units.rule == "none"


@pytest.mark.parametrize(
    "function, words",
    [
        ("no_batches", "returns no batches"),
        ("scalars", "samples on axis 0, got a single number"),
        ("listed", "must be an array, or a dictionary"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*cannot go back")
def test_what_is_no_batch_is_a_sentence(load, function, words):
    with pytest.raises(DataError, match=f"^streams_.*:{function}.*{words}"):
        load(function)


@pytest.mark.filterwarnings("ignore:.*cannot go back")
def test_a_batch_that_is_not_as_the_first_begins_with_the_name_of_the_function(load):
    data = load("by_step")
    with pytest.raises(DataError, match=r"^streams_.*:by_step: the batch of step 1 has 4 samples"):
        data.stream.take(data, 0, 8, labels=False)
    with pytest.raises(DataError, match=r"^streams.*step 1501 must be finite, and sample 2 on axi"):
        bad = load("bad_later")
        bad.stream.take(bad, 1500, 4, labels=False)
    short = load("short")
    for step in range(6):
        short.stream.take(short, step, 4, labels=False)
    with pytest.raises(DataError, match=r"^streams_.*:short ends after 6 batches"):
        short.stream.take(short, 6, 4, labels=False)


def interrupted(load, function, out, monkeypatch):
    """The directories of a run, and of one that stopped after step 4 and was resumed."""
    options = {"data": load(function).name, "checkpoint_every": 2, "net": NET}
    for name in ("whole", "parts"):
        if name == "parts":
            stop_after(4, monkeypatch)
            with pytest.raises(KeyboardInterrupt):
                training.train(config(out / name, **options), load(function), progress=False)
            monkeypatch.undo()
            monkeypatch.setattr(streams, "FIRST", 64)
            monkeypatch.chdir(out)
        training.train(config(out / name, **options), load(function), progress=False)
    return out / "whole", out / "parts"


def stop_after(step, monkeypatch):
    check = loop.check_losses

    def stop(losses, start, *rest):
        check(losses, start, *rest)
        if start == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "check_losses", stop)


def same(one, other):
    for name in ("weights.safetensors", "loss.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("function", ["by_step", "grain_mapped", "grain_loader"])
def test_an_interrupted_run_ends_with_the_same_bits(load, function, tmp_path, monkeypatch):
    if function.startswith("grain"):
        pytest.importorskip("grain")
    same(*interrupted(load, function, tmp_path, monkeypatch))


@pytest.mark.thorough
def test_a_plain_iterator_trains_and_is_not_resumed(load, tmp_path, monkeypatch):
    with pytest.warns(TrainingWarning, match="cannot go back: this run cannot be resumed"):
        data = load("plain")
    stop_after(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        training.train(config(tmp_path, data=data.name, net=NET), data, progress=False)
    assert len(read_losses(tmp_path / "loss.csv")) == 6
    with pytest.raises(ValueError, match=r"plain returns an iterator that cannot go back, and st"):
        training.train(config(tmp_path, data=data.name, net=NET), load("plain"), progress=False)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*cannot go back")
def test_a_stream_that_ends_saves_the_state(load, tmp_path):
    with pytest.raises(DataError, match="short ends after 6 batches"):
        training.train(config(tmp_path, data="short", net=NET), load("short"), progress=False)
    assert max(int(path.name) for path in (tmp_path / "checkpoint").iterdir()) == 6
