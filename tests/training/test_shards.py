"""Samples shard by shard: interrupted at any place, the same samples, each drawn once."""

import itertools

import numpy as np
import pytest

import edmjax as ej
from edmjax.training.shards import FOLDER, Shards, draw_shards, identity

ALL = np.random.default_rng(0).normal(size=(23, 2, 3)).astype(np.float32)
ABOUT = {"seed": 3, "plan": "a"}


def run(out, stop_after=None, about=ABOUT, n=23, size=5):
    """The shards, and which samples were drawn, of a command that is stopped after some shards."""
    shards, drawn, counts, seen = Shards(out, about, n, size), [], [], itertools.count(1)

    def draw(first, rows):
        drawn.append((first, rows))
        return ALL[first : first + rows]

    signal = draw_shards(draw, shards, lambda: 15 * (next(seen) == stop_after), counts.append)
    assert sum(counts) == n if not signal else sum(counts) < n
    return shards, drawn, signal


def test_every_interruption_ends_with_the_same_samples(tmp_path):
    for stop in range(1, 5):
        out = tmp_path / str(stop)
        _, before, signal = run(out, stop)
        assert signal == 15 and len(before) == stop
        shards, after, signal = run(out)
        assert signal == 0
        assert before + after == [(0, 5), (5, 5), (10, 5), (15, 5), (20, 3)]
        np.testing.assert_array_equal(shards.join(), ALL)
        shards.delete()
        assert not (out / FOLDER).exists()


def test_a_damaged_or_short_shard_is_drawn_again(tmp_path):
    shards, _, _ = run(tmp_path)
    files = sorted((tmp_path / FOLDER).glob("*.npz"))
    files[1].write_bytes(files[1].read_bytes()[:-40])
    files[2].write_bytes(b"")
    shards.write(15, ALL[15:17])
    again, drawn, _ = run(tmp_path)
    assert drawn == [(5, 5), (10, 5), (15, 5)]
    np.testing.assert_array_equal(again.join(), ALL)


def test_more_samples_than_before_draw_the_rest(tmp_path):
    run(tmp_path, n=13)
    shards, drawn, _ = run(tmp_path)
    assert drawn == [(10, 5), (15, 5), (20, 3)]
    np.testing.assert_array_equal(shards.join(), ALL)


@pytest.mark.parametrize("change, words", [
    ({"about": {**ABOUT, "seed": 4}}, "seed is 3 there and 4 here"),
    ({"size": 6}, "chunk_size is 5 there and 6 here"),
])  # fmt: skip
def test_shards_of_another_command_are_refused_and_kept(tmp_path, change, words):
    run(tmp_path, 2)
    before = {path: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()}
    with pytest.raises(ValueError, match=f"{words}.*choose another directory"):
        run(tmp_path, **change)
    assert {path: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()} == before
    (tmp_path / FOLDER / "shards.json").unlink()
    with pytest.raises(ValueError, match="another command"):
        run(tmp_path)


def test_what_is_joined_is_a_matter_of_size(tmp_path, monkeypatch):
    shards, _, _ = run(tmp_path)
    assert shards.joinable
    monkeypatch.setattr("edmjax.training.shards.LARGEST", ALL.nbytes - 1)
    assert not shards.joinable


def test_weights_guide_and_plan_are_told_apart_by_their_content(tmp_path):
    for name in ("weights", "guide"):
        (tmp_path / name).write_bytes(name.encode())
    plan = ej.make_plan(ej.samplers.euler(), ej.schedules.karras(4))
    other = ej.make_plan(ej.samplers.euler(), ej.schedules.karras(4, rho=5.0))
    before = identity(tmp_path / "weights", tmp_path / "guide", plan, seed=3)
    assert before == identity(tmp_path / "weights", tmp_path / "guide", plan, seed=3)
    assert before["plan"] != identity(tmp_path / "weights", None, other)["plan"]
    (tmp_path / "guide").write_bytes(b"trained longer")
    now = identity(tmp_path / "weights", tmp_path / "guide", plan, seed=3)
    assert {name for name in now if now[name] != before[name]} == {"guide_sha256"}
