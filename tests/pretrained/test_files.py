"""Directories of diffusers: the layouts that are read, and what is refused with a sentence."""

import json
import shutil
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.pretrained import arrays_of, save, save_pipeline

import edmjax as ej
from edmjax.pretrained import loading

TINY = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.42.1",
    "sample_size": 4,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [4],
    "layers_per_block": 1,
    "down_block_types": ["AttnDownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "norm_num_groups": 2,
    "attention_head_dim": 4,
}
DDIM = {"_class_name": "DDIMScheduler", "clip_sample": False}
STEM = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved")
    save_pipeline(path, TINY, DDIM, dtype=np.float32)
    return path


@pytest.fixture
def root(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "pipeline")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def same(a, b):
    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(left) == len(right) and all(map(np.array_equal, left, right))


def test_attributes(root):
    denoise = ej.pretrained.load(root)
    assert denoise.shape == (4, 4, 1) and denoise.sigma_data == 0.5
    np.testing.assert_allclose(denoise.sigma_range, [0.01, 157.4], rtol=1e-3)
    levels = denoise.levels(10)
    assert levels.times.tolist() == [*range(900, -1, -100), -1]


@pytest.mark.thorough
def test_layouts(root, tmp_path_factory):
    """Flat, in shards, of a variant, under the older names: the same arrays."""
    first = ej.pretrained.load(root)
    for i, how in enumerate(({}, {"shards": 3}, {"variant": "fp16"}, {"old": True})):
        flat = tmp_path_factory.mktemp(f"flat{i}")
        save(flat, TINY, np.float32, **how)
        (flat / "scheduler_config.json").write_text(json.dumps(DDIM))
        assert same(ej.pretrained.load(flat), first)
    save(flat, TINY, np.float32, variant="ema", shards=2)
    assert same(ej.pretrained.load(flat, variant="ema"), first)
    assert same(ej.pretrained.load(flat, variant=""), first)


@pytest.mark.thorough
def test_dtypes(root):
    half = ej.pretrained.load(root, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} >= {np.dtype(jnp.bfloat16)}
    save(root / "unet", TINY, np.float16)
    kept = ej.pretrained.load(root)
    assert any(leaf.dtype == np.float16 for leaf in jax.tree.leaves(kept))


@pytest.mark.thorough
def test_another_scheduler(root, tmp_path):
    path = tmp_path / "scheduler_config.json"
    euler = {"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}
    path.write_text(json.dumps(euler))
    denoise = ej.pretrained.load(root, scheduler=path)
    grid = denoise.levels(5)
    wanted = ej.schedules.karras(5, *denoise.sigma_range)
    np.testing.assert_allclose(grid.sigmas, wanted, rtol=1e-9)


@pytest.mark.thorough
def test_under_jit_one_program(root):
    """The denoiser is an argument of `jit`: other weights, no second trace."""
    traces = []

    @jax.jit
    def denoised(denoise, x):
        traces.append(1)
        return denoise(x, 3.0)

    x = jnp.ones((1, 4, 4, 1))
    first = denoised(ej.pretrained.load(root), x)
    arrays = arrays_of(TINY)
    from safetensors.numpy import save_file

    halved = {k: np.ascontiguousarray(v / 2, np.float32) for k, v in arrays.items()}
    save_file(halved, root / "unet" / f"{STEM}.safetensors")
    second = denoised(ej.pretrained.load(root), x)
    assert len(traces) == 1 and not np.allclose(first, second)


# ---- refused, with a sentence


def refuses(match, source, **how):
    with pytest.raises(ValueError, match=match):
        ej.pretrained.load(source, **how)


def test_no_directory(root):
    refuses("There is no directory .* edmjax downloads nothing", root / "elsewhere")
    refuses("is a file: give the directory", root / "model_index.json")
    (root / "net.pkl").write_bytes(b"")
    refuses("is a pickle, and reading one runs", root / "net.pkl")


@pytest.mark.usefixtures("unchecked")
def test_no_path():
    with pytest.raises(TypeError, match="must be the path of a directory, got int 3"):
        ej.pretrained.load(3)  # type: ignore


def test_layouts_that_are_not_there(root):
    refuses("neither model_index.json nor config.json", root / "scheduler")
    refuses("There is no .*config.json", root, subfolder="elsewhere")
    refuses("There is no scheduler_config.json at", root, scheduler=root / "elsewhere")
    (root / "scheduler" / "scheduler_config.json").unlink()
    refuses("has no scheduler_config.json: pass its path", root)
    edit(root / "model_index.json", unet=[None, None])
    refuses("neither unet nor transformer", root)


@pytest.mark.thorough
def test_two_files_that_could_be_meant(root):
    save(root / "unet", TINY, np.float32, variant="fp16")
    refuses("more than one kind, .* pass `variant=`, one of '', 'fp16'", root)
    refuses("no variant 'bf16'", root, variant="bf16")
    save(root / "unet", TINY, np.float32, shards=2)
    refuses("either could be meant", root, variant="")


def test_only_pickles(root):
    (root / "unet" / f"{STEM}.safetensors").rename(root / "unet" / f"{STEM}.bin")
    refuses("is a pickle", root)


def test_no_weights(root):
    (root / "unet" / f"{STEM}.safetensors").unlink()
    refuses("has no diffusion_pytorch_model.safetensors", root)


def test_cut_short(root):
    path = root / "unet" / f"{STEM}.safetensors"
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        refuses("cut short", root)
    path.write_bytes(struct.pack("<Q", 4) + b"nope" + whole)
    refuses("header of .* is not that of safetensors", root)


@pytest.mark.thorough
def test_shards(root):
    folder = root / "unet"
    (folder / f"{STEM}.safetensors").unlink()
    save(folder, TINY, np.float32, shards=2)
    second = folder / f"{STEM}-00002-of-00002.safetensors"
    whole = second.read_bytes()
    second.unlink()
    refuses("names the file .*00002-of-00002.* missing", root)
    second.write_bytes(whole[:-7])
    refuses("cut short", root)
    second.write_bytes(whole)
    index = folder / f"{STEM}.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    edit(index, weight_map=weight_map | {"conv_in.weight": "../elsewhere.safetensors"})
    refuses("outside of its directory", root)
    edit(index, weight_map=weight_map | {"extra.weight": second.name})
    refuses("disagree about the array 'extra.weight'", root)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options, match",
    [
        (
            {"block_out_channels": [8]},
            "'conv_in.bias' has shape .4,., and the configuration calls for .8,.",
        ),
        (
            {"layers_per_block": 2},
            "has no array 'down_blocks.0..*which its configuration calls for",
        ),
        ({"add_attention": False}, "has the array 'mid_block.attentions.0..* has no place"),
        (
            {"down_block_types": ["SkipDownBlock2D"]},
            r"`down_block_types\[0\]` is 'SkipDownBlock2D'",
        ),
        ({"time_embedding_type": "fourier"}, "`time_embedding_type` is 'fourier', and edmjax supp"),
        ({"new_option": 3}, "option 'new_option' with the value 3, .* later version .*0.42.1"),
        ({"in_channels": "three"}, "`in_channels` must be an integer, got 'three'"),
        ({"norm_num_groups": 3}, "3 groups cannot share 4 channels"),
        ({"up_block_types": ["UpBlock2D"] * 2}, "`up_block_types` has 2 entries"),
        ({"_class_name": "UNet1DModel"}, "is the configuration of a 'UNet1DModel', and this reads"),
        ({"_class_name": "AutoencoderKL"}, "is the configuration of a 'AutoencoderKL'"),
        ({"out_channels": 3}, "`in_channels` is 1 and `out_channels` 3"),
    ],
)
def test_configuration(root, options, match):
    edit(root / "unet" / "config.json", **options)
    if "out_channels" in options:
        save(root / "unet", TINY | options, np.float32)
    refuses(match, root)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options, match",
    [
        ({"_class_name": "LCMScheduler"}, "is the configuration of a 'LCMScheduler'"),
        ({"prediction_type": "flow"}, "`prediction_type` is 'flow', and edmjax supports"),
        ({"beta_schedule": "exp"}, "`beta_schedule` is 'exp'"),
        ({"num_train_timesteps": 0}, "`num_train_timesteps` must be at least 1"),
        ({"beta_end": 3.0}, r"Every beta must be in \(0, 1\)"),
        ({"new_option": True}, "option 'new_option'"),
        (
            {"_class_name": "EulerDiscreteScheduler", "use_beta_sigmas": True},
            "`use_beta_sigmas` is True",
        ),
    ],
)
def test_scheduler(root, options, match):
    edit(root / "scheduler" / "scheduler_config.json", **options)
    refuses(match, root)


def test_refused_before_any_array_is_read(root, monkeypatch):
    """A wrong name or option needs the headers alone."""
    monkeypatch.setattr(loading, "read_array", lambda _: pytest.fail("an array was read"))
    edit(root / "unet" / "config.json", block_out_channels=[8])
    refuses("has shape", root)


@pytest.mark.thorough
def test_wrong_conditions(root):
    denoise = ej.pretrained.load(root)
    with pytest.raises(ValueError, match="takes no condition"):
        denoise(jnp.ones((1, 4, 4, 1)), 1.0, {"class_labels": jnp.zeros(1, int)})


def test_texts_are_json(root):
    (root / "model_index.json").write_text("{")
    refuses("is not JSON", root)
    (root / "model_index.json").write_text("[]")
    refuses("must hold a JSON object", root)
