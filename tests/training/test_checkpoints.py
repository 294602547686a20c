"""Checkpoints: damage, a full disk and another architecture leave the last good one, and say so."""

import errno
import os
import pathlib
import re
import resource
import signal
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edmjax
from edmjax.training import TrainState
from edmjax.training.checkpoints import Checkpoints, save_weights
from edmjax.training.files import damage, make_directory, write_checksums, write_file


def state(step, size=12):
    parts: dict[str, Any] = {name: {} for name in TrainState._fields}
    empty = TrainState(**parts)
    params = {"a": jnp.arange(float(size)), "b": jnp.full((3, 4), step / 2)}
    return empty._replace(step=jnp.int32(step), key=jax.random.key(1), params=params)


def saved(directory, *steps):
    with Checkpoints(directory, {"x": 1}) as checkpoints:
        for step in steps:
            checkpoints.save(state(step))


def restore(directory, like=None, **config):
    with Checkpoints(directory, config or {"x": 1}) as checkpoints:
        return checkpoints.restore(like or state(0))


def check(restored, step):
    assert restored.step == step
    np.testing.assert_array_equal(restored.params["a"], np.arange(12.0))
    np.testing.assert_array_equal(restored.params["b"], np.full((3, 4), step / 2))
    assert (jax.random.key_data(restored.key) == jax.random.key_data(jax.random.key(1))).all()


def test_the_newest_two_are_kept(tmp_path):
    directory = tmp_path / "checkpoint"
    assert restore(directory) is None and not directory.exists()
    saved(directory, 4, 8, 12)
    assert sorted(p.name for p in directory.iterdir()) == ["12", "8"]
    check(restore(directory), 12)


def test_the_state_of_the_data_is_kept_beside_it(tmp_path):
    """That of an iterator, where the run has one."""
    for name, data in (("with", {"entries": {"next": 3}}), ("without", None)):
        with Checkpoints(tmp_path / name, {}) as checkpoints:
            checkpoints.save(state(4), data)
        with Checkpoints(tmp_path / name, {}) as checkpoints:
            check(checkpoints.restore(state(0)), 4)
            assert checkpoints.data == data


def test_the_bytes_of_weights_are_the_same_each_time(tmp_path):
    """The library writes the two entries of the metadata in an order of its own."""
    for i in range(8):
        save_weights(tmp_path / f"{i}", {"a": jnp.arange(3.0)}, {"x": 1})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_truncated_file_is_named_and_the_checkpoint_before_it_is_used(tmp_path):
    """Each file of the newest checkpoint in turn, cut to half its length."""
    directory = tmp_path / "checkpoint"
    saved(directory, 4, 8)
    files = [p for p in sorted((directory / "8").rglob("*")) if p.is_file()]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.warns(UserWarning, match="damaged") as caught:
            check(restore(directory), 4)
        text = " ".join(str(warning.message) for warning in caught)
        assert str(file) in text and "from step 4" in text
        # The damaged one is kept, and its step can be saved again.
        aside = directory / "damaged-8"
        assert str(aside) in text and aside.is_dir() and not (directory / "8").exists()
        aside.rename(directory / "8")
        file.write_bytes(content)
    check(restore(directory), 8)


def test_a_damaged_step_can_be_saved_again(tmp_path):
    directory = tmp_path / "checkpoint"
    saved(directory, 4, 8)
    for kept in ("damaged-8", "damaged-8-again"):
        (directory / "8" / "state" / "_METADATA").write_bytes(b"{")
        with pytest.warns(UserWarning, match="damaged"), Checkpoints(directory, {"x": 1}) as both:
            check(both.restore(state(0)), 4)
            both.save(state(8))
        assert (directory / kept).is_dir()
        check(restore(directory), 8)


def test_where_all_are_damaged_each_is_named_and_nothing_is_moved(tmp_path):
    directory = tmp_path / "checkpoint"
    saved(directory, 4, 8)
    for step in ("4", "8"):
        (directory / step / "state" / "manifest.ocdbt").unlink()
    with pytest.raises(ValueError, match=r"8/state/manifest\.ocdbt is missing.*4/state/manifest"):
        restore(directory)
    assert sorted(p.name for p in directory.iterdir()) == ["4", "8"]


def test_killed_before_its_checksums_a_checkpoint_is_whole(tmp_path):
    directory = tmp_path / "checkpoint"
    saved(directory, 4, 8)
    (directory / "8" / "checksums.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(restore(directory), 8)
    for file in (directory / "8" / "state" / "d").iterdir():
        file.write_bytes(b"")
    with pytest.warns(UserWarning, match="8 cannot be read"):
        check(restore(directory), 4)


def test_what_a_kill_leaves_of_a_save_is_no_checkpoint(tmp_path):
    directory = tmp_path / "checkpoint"
    saved(directory, 4, 8)
    (directory / "8").rename(directory / "8.orbax-checkpoint-tmp")
    check(restore(directory), 4)


def test_another_architecture_is_named(tmp_path):
    directory = tmp_path / "checkpoint"
    saved(directory, 4)
    with pytest.raises(ValueError, match=r"params\.a is 'float32\[12\]' there and 'float32\[13\]'"):
        restore(directory, state(0, size=13))
    more = state(0)._replace(buffers={"c": jnp.zeros(2)})
    with pytest.raises(ValueError, match=r"buffers\.c is None there and 'float32\[2\]' here"):
        restore(directory, more)
    with pytest.raises(ValueError, match="another run's checkpoint: x is 1 there and 2 here"):
        restore(directory, x=2)
    check(restore(directory), 4)


@pytest.fixture
def full_disk():
    """No file can grow beyond 100 bytes: a write fails as on a full disk, in C++ too."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_a_sentence_and_the_checkpoint_before_is_kept(tmp_path, full_disk):
    directory = tmp_path / "checkpoint"
    with Checkpoints(directory, {"x": 1}) as checkpoints:
        checkpoints.save(state(4))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        full_disk()
        with pytest.raises(OSError, match=r"of step 8 could not.*step 4 is kept.*Make room"):
            checkpoints.save(state(8))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check(restore(directory), 4)
    saved(directory, 8)
    check(restore(directory), 8)


def test_a_file_stays_as_it_was_where_the_new_one_does_not_fit(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_file(path, b"old")

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"file could not be written: No space left.*Make room"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_a_directory_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written to: Not a directory"):
        make_directory(tmp_path / "file" / "run")
    with pytest.raises(OSError, match="cannot be written to: File exists"):
        make_directory(tmp_path / "file")
    make_directory(tmp_path / "new" / "run")
    assert list((tmp_path / "new" / "run").iterdir()) == []


def test_checksums_find_a_changed_byte_and_a_lost_file(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("a", "below/b"):
        (tmp_path / name).write_bytes(b"content")
    write_checksums(tmp_path)
    assert damage(tmp_path) is None
    (tmp_path / "below/b").write_bytes(b"contend")
    assert "below/b has another content" in str(damage(tmp_path))
    (tmp_path / "below/b").unlink()
    assert "below/b is missing" in str(damage(tmp_path))


def test_nothing_that_is_read_can_run_code():
    """numpy refuses pickled arrays unless told otherwise, and nobody tells it.

    `convert_edm.py` reads the pickles of NVlabs: it stands alone, for an environment of the user's
    own with torch and the authors' code, and nothing imports it.
    """
    root = pathlib.Path(edmjax.__file__).parent
    sources = list(root.rglob("*.py"))
    for folder in ("scripts", "benchmarks", "checks", "docs"):
        found = list((root.parent / folder).rglob("*.py"))
        assert found, folder
        sources += found
    assert len(sources) > 50
    forbidden = r"^\s*(import|from) (pickle|cloudpickle|dill|joblib|shelve|marshal)\b|allow_pickle"
    for path in sources:
        if path == root.parent / "scripts" / "convert_edm.py":
            continue
        assert "convert_edm import" not in path.read_text(), path
        found = re.findall(forbidden, path.read_text().replace("allow_pickle=False", ""), re.M)
        assert not found, f"{path} has {found}"
