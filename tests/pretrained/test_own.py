"""Our own runs and bundled networks by `ej.pretrained.load`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edmjax as ej
from edmjax import training
from edmjax.training.config import LossConfig


@jax.jit
def call(denoise, x, sigma, cond=None):
    return denoise(x, sigma, cond)


def run_of(folder, **loss):
    """The directory of a run of this loss: the arrays of digits, with another configuration."""
    arrays, config = training.load_weights("digits")
    config = config | {"loss": config["loss"] | loss}
    folder.mkdir(parents=True)
    training.save_weights(folder / training.WEIGHTS, arrays, config)
    return folder


def test_a_bundled_network_is_that_of_training():
    denoise, trained = ej.pretrained.load("digits"), training.load_trained("digits")
    assert denoise.shape == (8, 8, 1) and denoise.sigma_range == (0.002, 80.0)
    np.testing.assert_array_equal(denoise.levels(18), ej.schedules.karras(18))
    assert denoise.process.prior_std == denoise.levels(5)[0] == 80
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    labels = np.array([0, 3, 10])  # 10 is "no class"
    want = call(trained.denoise, x, 2.0, labels)
    np.testing.assert_array_equal(call(denoise, x, 2.0, labels), want)


@pytest.mark.parametrize("as_path", [str, lambda path: path, lambda path: path / training.WEIGHTS])
def test_a_run_by_its_directory_or_its_file(tmp_path, as_path):
    denoise = ej.pretrained.load(as_path(run_of(tmp_path / "run")))
    got, want = jax.tree.leaves(denoise), jax.tree.leaves(ej.pretrained.load("digits"))
    assert len(got) == len(want) and all(map(np.array_equal, got, want))


@pytest.mark.parametrize(
    "loss, want",
    [
        ({"name": "dsm"}, ej.processes.song_ve(25.0)),
        ({"name": "vp"}, ej.processes.vp()),
        ({"name": "cosine"}, ej.processes.cosine()),
        ({"name": "ddpm"}, ej.processes.ddpm()),
        ({"name": "flow"}, ej.processes.flow()),
    ],
)
def test_the_process_is_that_of_the_loss(tmp_path, loss, want):
    denoise = ej.pretrained.load(run_of(tmp_path / "run", **loss))
    t = 3.0 if loss["name"] == "ddpm" else 0.3
    assert float(denoise.process.sigma(t)) == float(want.sigma(t))
    low, high = denoise.sigma_range
    least, most = training.trained_range(LossConfig(**loss))
    known = training.levels_of(tmp_path / "run")
    assert (low, high) == (known.sigma_min, known.sigma_max)
    assert least <= low < high <= most


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float64])
def test_another_dtype(dtype, x64):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    denoise = ej.pretrained.load("digits", dtype=dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(denoise.denoise)} >= {np.dtype(dtype)}
    want = call(ej.pretrained.load("digits"), x.astype(np.float32), 1.0)
    got = call(denoise, x.astype(want.dtype if dtype is jnp.bfloat16 else dtype), 1.0)
    assert 0 < np.abs(got - want).max() < (0.05 if dtype is jnp.bfloat16 else 2e-6)


def test_what_such_networks_do_not_have_is_a_sentence(tmp_path, monkeypatch):
    for option in ({"subfolder": "unet"}, {"scheduler": "x"}, {"variant": ""}, {"impl": "lax"}):
        (name,) = option
        with pytest.raises(ValueError, match=f"`{name}` is for directories of diffusers"):
            ej.pretrained.load("digits", **option)
    with pytest.raises(ValueError, match="`dtype` must be a floating one"):
        ej.pretrained.load("digits", dtype=np.int32)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    ej.pretrained.load("digits")  # an empty directory is nothing to confuse it with
    (tmp_path / "digits" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"write \./digits for the directory"):
        ej.pretrained.load("digits")
    with pytest.raises(ValueError, match="is damaged or holds no edmjax weights"):
        path = tmp_path / "other.safetensors"
        path.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        ej.pretrained.load(path)
