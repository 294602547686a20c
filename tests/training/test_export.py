"""Samplers as files: the samples of `draw`, in the units of the data, without edmjax."""

import importlib.util
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from support import untrained
from support.helpers import later

import edmjax as ej
from edmjax import training
from edmjax.training.export import PLATFORMS, export_sampler, in_units

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("flatbuffers"), reason="the extra `export` is not installed"
)

PLAN = ej.make_plan(ej.samplers.ancestral(ej.samplers.euler()), ej.schedules.karras(3))

SCORE_NET = training.NetConfig(name="score_net", channels=[4, 4, 4, 4], embed_dim=8)


def numbers(n, start=0):
    return np.arange(start, start + n, dtype=np.int32)


def round_trip(made):
    return export.deserialize(bytearray(made.serialize()))


def vectors(tmp_path, **more):
    """A network of vectors, whose file says what `more` has."""
    net = training.NetConfig(name="mlp", width=16, num_blocks=1, classes=more.get("num_classes"))
    return training.load_trained(untrained.weights(tmp_path / "run", shape=(3,), net=net, **more))


@pytest.mark.parametrize("seed", [2**31 + 5, *later(0, mark=pytest.mark.slow)])
def test_a_file_draws_the_samples_of_draw(tmp_path, seed):
    trained = vectors(tmp_path, clip=False)
    loaded = round_trip(export_sampler(trained, PLAN))
    want = training.draw(trained.denoise, PLAN, (3,), num_samples=5, seed=seed, clip=False)
    given = np.uint32(seed).view(np.int32)
    np.testing.assert_array_equal(loaded.call(given, numbers(5)), want)
    # Others of another number, to rounding: XLA may compile another size otherwise.
    some = loaded.call(given, numbers(2, start=2))
    np.testing.assert_allclose(some, want[2:4], rtol=1e-5, atol=1e-5)
    assert loaded.platforms == PLATFORMS


def test_conditions_are_given_in_the_units_of_the_data(tmp_path):
    rng = np.random.default_rng(0)
    raw = {"vector": rng.normal(5, 3, (20, 2)), "sequence": rng.normal(1, 2, (20, 4, 2))}
    raw = {kind: value.astype(np.float32) for kind, value in raw.items()}
    raw["mask"] = rng.random((20, 4)) < 0.5
    dataset = ej.training.Dataset.of(rng.normal(size=(20, 3)).astype(np.float32), cond=raw)

    def denoise(x, sigma, cond):
        told = cond["vector"].sum(1) + jnp.where(cond["mask"][..., None], cond["sequence"], 0).sum(
            (1, 2)
        )
        return 0.5 * x + told[:, None]

    denoise = jax.tree_util.Partial(denoise)
    trained = training.Trained(denoise, (3,), 0, 0.0, False, dataset.units, dataset.conditions, 0.0)
    loaded = round_trip(export_sampler(trained, PLAN))
    some = {kind: value[:5] for kind, value in raw.items()}
    want = training.draw(
        denoise, PLAN, (3,), num_samples=5, seed=1, clip=False, cond=trained.condition(some)
    )
    found = loaded.call(np.int32(1), numbers(5), some)
    np.testing.assert_allclose(found, trained.to_data(want), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["photos", "fields", "digits"])
def test_samples_come_in_the_units_of_the_data_and_with_labels(tmp_path, name):
    x = np.random.default_rng(0).normal(size=(20, 3, 6, 5)) * 10 + 300
    if name == "photos":
        x = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
    dataset = ej.training.Dataset.of(x, channels="first" if name == "fields" else None)
    more = {"units": dataset.units.describe(), "clip": dataset.clips(None)}
    more = {} if name == "digits" else more
    shape = (8, 8, 1) if name == "digits" else dataset.image_shape
    run = untrained.weights(tmp_path / "run", shape=shape, num_classes=4, **more)
    trained = training.load_trained(run)
    labels = np.array([3, 0, 1], np.int32)
    want = training.draw(
        trained.denoise, PLAN, shape, num_samples=3, seed=1, labels=labels, clip=trained.clip
    )
    want = trained.to_data(want)
    loaded = round_trip(export_sampler(trained, PLAN))
    found = np.asarray(loaded.call(np.int32(1), numbers(3), labels))
    assert found.dtype == want.dtype == (np.float32 if name == "digits" else x.dtype)
    assert found.shape == want.shape == (3, *(shape if name == "digits" else x.shape[1:]))
    # Float64 may differ in its last bit, where product and sum are one operation.
    np.testing.assert_allclose(found, want, rtol=1e-15 if name == "fields" else 0)


@pytest.mark.parametrize(
    "dtype, channels", [("int64", "first"), ("float32", None), ("uint8", None), ("bool", None)]
)
def test_traced_units_are_those_on_the_host(dtype, channels):
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 2 if dtype == "bool" else 90, (30, 4, 3, 2))).astype(dtype)
    units = ej.training.Dataset.of(x, channels=channels).units
    samples = rng.normal(size=(9, *units.net_shape)).astype(np.float32)
    found = np.asarray(jax.jit(lambda v: in_units(units, v))(samples))
    want = units.to_data(samples)
    assert found.dtype == want.dtype
    np.testing.assert_allclose(found, want, rtol=1e-6 if dtype == "float32" else 0)


@pytest.mark.thorough
def test_accelerators_get_the_convolutions_of_xla(tmp_path):
    trained = training.load_trained(
        untrained.weights(tmp_path / "run", shape=(20, 20, 1), net=SCORE_NET)
    )

    # Of transposed convolutions, which on a CPU are products of matrices.
    def dilated(*platforms):
        text = export_sampler(trained, PLAN, platforms=platforms).mlir_module()
        return len(re.findall(r"lhs_dilate = \[2, 2\]", text))

    tpu = dilated("tpu")
    assert dilated("cpu") == 0 < tpu
    assert dilated("cpu", "cuda", "tpu") == 2 * tpu


@pytest.mark.slow
@pytest.mark.parametrize("name", ["patch_unet", "score_net", "dit"])
def test_every_network_is_exported_and_guided(tmp_path, name, unchecked):
    more = {"dit": {"width": 16, "num_blocks": 1, "num_heads": 2}}.get(name, {"channels": [4, 4]})
    more = {"channels": [4, 4, 4, 4], "embed_dim": 8} if name == "score_net" else more
    net = training.NetConfig(name=name, classes=True, **more)
    run = untrained.weights(tmp_path / "run", shape=(20, 20, 1), num_classes=3, net=net)
    trained = training.guided(training.load_trained(run), 2.0)
    labels = np.array([2, 1], np.int32)
    want = training.draw(trained.denoise, PLAN, (20, 20, 1), num_samples=2, seed=0, labels=labels)
    found = round_trip(export_sampler(trained, PLAN)).call(np.int32(0), numbers(2), labels)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


ELSEWHERE = """
import sys
import numpy as np
from jax import export

sampler = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
np.save(sys.argv[2], sampler.call(np.int32(3), np.arange(6, dtype="int32"), np.ones(6, "int32")))
assert not {"edmjax", "flax", "jaxtyping"} & {*sys.modules}
"""


@pytest.mark.slow
def test_a_file_runs_where_only_jax_and_flatbuffers_are_installed(tmp_path):
    dataset = ej.training.Dataset.of(np.arange(256, dtype=np.uint8).reshape(4, 8, 8))
    more = {"units": dataset.units.describe(), "clip": True, "num_classes": 4}
    trained = training.load_trained(untrained.weights(tmp_path / "run", **more))
    file, out, python = tmp_path / "sampler", tmp_path / "x.npy", tmp_path / "env/bin/python"
    file.write_bytes(export_sampler(trained, PLAN).serialize())
    packages = [f"jax=={jax.__version__}", "flatbuffers"]
    for command in (
        [sys.executable, "-m", "venv", str(tmp_path / "env")],
        [str(python), "-m", "pip", "install", "-q", *packages],
        [str(python), "-I", "-c", ELSEWHERE, str(file), str(out)],
    ):
        subprocess.run(command, check=True)
    ones = np.ones(6, np.int32)
    want = training.draw(trained.denoise, PLAN, (8, 8, 1), num_samples=6, seed=3, labels=ones)
    assert np.load(out).dtype == np.uint8 and np.load(out).shape == (6, 8, 8)
    # This process may compile otherwise: a number near a half is rounded up or down.
    apart = np.abs(np.load(out).astype(int) - trained.to_data(want).astype(int))
    assert apart.max() <= 1 and apart.mean() < 0.01
