"""Directories of NVlabs' networks: what the script writes, what is read, and what is refused."""

import importlib.util
import json
import os
import pathlib
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.nvlabs import called, loaded, relative
from support.pretrained import arrays_of, golden, redrawn, save

import edmjax as ej
from edmjax.pretrained import building, loading, names
from edmjax.pretrained.networks import edm2

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "convert_edm.py"
TINY = {
    "_class_name": "EDMPrecond",
    "model_type": "SongUNet",
    "img_resolution": 4,
    "img_channels": 1,
    "model_channels": 4,
    "channel_mult": [1],
    "num_blocks": 1,
    "attn_resolutions": [],
}
TINY2 = {
    "_class_name": "Precond",
    "img_resolution": 4,
    "img_channels": 1,
    "label_dim": 0,
    "model_channels": 4,
    "channel_mult": [1],
    "num_blocks": 1,
}
LATENTS = {"vae_name": "some-vae", "scale": [0.1, 0.2], "bias": [-0.3, 0.5]}


def refuses(match, source, **how):
    with pytest.raises(ValueError, match=match):
        ej.pretrained.load(source, **how)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"img_resolution": None}, "`img_resolution` must be an integer, got None"),
        ({"model_type": "DiT"}, "`model_type` is 'DiT', and edmjax supports 'SongUNet' or"),
        ({"embedding_type": "zero"}, "`embedding_type` is 'zero', and edmjax supports"),
        ({"encoder_type": "tree"}, "`encoder_type` is 'tree'"),
        ({"resample_filter": [1, 2, 1]}, "`resample_filter` must have an even number of entries"),
        (
            {"channel_mult": [1, 2, 2, 2]},
            "`img_resolution` is 4, and 4 levels need a multiple of 8",
        ),
        ({"beta_d": 19.9}, "option 'beta_d' with the value 19.9, .* of such a network"),
        ({"model_type": "DhariwalUNet", "encoder_type": "skip"}, "option 'encoder_type'"),
        ({"_class_name": "Precond"}, "option 'model_type'"),
        ({"_class_name": "CTPrecond"}, "is the configuration of a 'CTPrecond', and this reads"),
        ({"sigma_data": -1.0}, "`sigma_data` must be"),
        ({"sigma_min": 5.0, "sigma_max": 3.0}, "`sigma_min` must be below `sigma_max`, got 5.0"),
    ],
)
def test_options(options, match, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "read_array", lambda _: pytest.fail("an array was read"))
    (tmp_path / "config.json").write_text(json.dumps(TINY | options))
    if options.get("_class_name") == "CTPrecond":  # it would need a scheduler
        (tmp_path / "scheduler_config.json").write_text('{"_class_name": "DDIMScheduler"}')
    refuses(match, tmp_path)


def test_no_scheduler_is_needed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    refuses("has no diffusion_pytorch_model.safetensors", tmp_path)
    refuses("with EDMPrecond takes no scheduler", tmp_path, scheduler=tmp_path)


def test_arrays_of_score_sde():
    with pytest.raises(ValueError, match="the arrays of score_sde, whose own files edmjax does"):
        names.matched({}, {"all_modules.0.W": (3,)}, "a file")


def test_attributes(tmp_path):
    save(tmp_path, TINY | {"sigma_data": 0.7, "sigma_max": 50.0}, np.float32)
    denoise = ej.pretrained.load(tmp_path)
    assert denoise.shape == (4, 4, 1) and denoise.sigma_data == 0.7
    assert denoise.sigma_range == (0.002, 50.0) and denoise.latents is None
    np.testing.assert_allclose(denoise.levels(6), ej.schedules.karras(6, 0.002, 50))
    half = ej.pretrained.load(tmp_path, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} >= {np.dtype(jnp.bfloat16)}


def test_tables_stay_wide():
    for name in ("model.map_noise.freqs", "u"):
        assert building.on_device(name, np.ones(3, np.float16), jnp.bfloat16).dtype == np.float32


def test_latents_of_edm2():
    """The scale of EDM2's latents, `z = scale latent + bias`, as an autoencoder has it."""
    made = edm2.latents(LATENTS, "latents")
    np.testing.assert_allclose(
        (1.5 - np.array(made.shift_factor)) * 0.1, 0.15 + np.array([-0.3, 0.25])
    )
    with pytest.raises(ValueError, match="`latents` must have `scale`, `bias` and `vae_name`"):
        edm2.latents([1, 2], "latents")
    with pytest.raises(ValueError, match="a positive `scale` and a `bias` for each channel"):
        edm2.latents(LATENTS | {"scale": [1.0]}, "latents")


@pytest.mark.slow
def test_pictures_of_latents(tmp_path, x64):
    save(tmp_path / "net", TINY2 | {"img_channels": 2, "latents": LATENTS})
    denoise = ej.pretrained.load(tmp_path / "net")
    vae = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [4],
        "norm_num_groups": 2,
        "latent_channels": 2,
    }
    save(tmp_path / "vae", vae)
    plain = ej.pretrained.load_autoencoder(tmp_path / "vae")
    scaled = ej.pretrained.load_autoencoder(tmp_path / "vae", latents=denoise.latents)
    x = jax.random.uniform(jax.random.key(0), (1, 8, 8, 3))
    latent = plain.encode(x) / 0.18215
    z = jnp.array(LATENTS["scale"]) * latent + jnp.array(LATENTS["bias"])
    np.testing.assert_allclose(scaled.encode(x), z, atol=1e-12)
    np.testing.assert_allclose(scaled.decode(z), plain.decode(plain.encode(x)), atol=1e-10)
    wrong = denoise.latents._replace(scaling_factor=(1.0,))
    with pytest.raises(ValueError, match=r"of 2 channels, and `latents` are of 1: .* 'some-vae'"):
        ej.pretrained.load_autoencoder(tmp_path / "vae", latents=wrong)


# ---- the script


def script():
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("convert_edm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, TINY2], ids=["edm", "edm2"])
def test_script(config, tmp_path):
    """A module of torch with the arrays and the arguments of the authors' classes, converted."""
    convert, torch = script(), pytest.importorskip("torch")
    options = {k: v for k, v in config.items() if not k.startswith(("_", "model_type"))}
    arrays = arrays_of(config)

    def stands_in(name, inner, **given):
        class Module(torch.nn.Module):
            def __init__(self, img_resolution, img_channels, label_dim=0, **more):
                super().__init__()
                self.init_args, self.init_kwargs = (), given

            def state_dict(self):
                return {name: torch.tensor(a, dtype=torch.float32) for name, a in arrays.items()}

        Module.__name__ = name
        made = Module(**given)
        if inner is not None:
            setattr(made, "unet" if name == "Precond" else "model", inner)
        return made

    inner = stands_in(config.get("model_type", "UNet"), None, **options)
    net = stands_in(config["_class_name"], inner, **options, sigma_data=float("inf"))
    net.init_kwargs["sigma_data"] = 0.7
    convert.convert(net, tmp_path / "converted")
    save(tmp_path / "saved", config | {"sigma_data": 0.7}, np.float32)
    first, second = (ej.pretrained.load(tmp_path / name) for name in ("converted", "saved"))
    assert first.sigma_data == 0.7
    assert all(map(np.array_equal, *map(jax.tree.leaves, (first, second))))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["edm_classes", "iddpm_adm", "edm2_options"])
def test_script_with_the_code_of_the_authors(case, tmp_path, monkeypatch):
    """A pickle of the authors' classes, converted: the output of their code in float32.

    NVLABS_EDM and NVLABS_EDM2 are the paths of their checkouts.
    """
    convert, torch = script(), pytest.importorskip("torch")
    code = os.environ.get("NVLABS_EDM2" if case.startswith("edm2") else "NVLABS_EDM")
    if code is None:
        pytest.skip("no checkout of the authors' code")
    monkeypatch.syspath_prepend(code)
    run = golden(case)
    options = dict(run["config"])
    file = "networks_edm2" if case.startswith("edm2") else "networks"
    module = importlib.import_module(f"training.{file}")
    net = getattr(module, options.pop("_class_name"))(**options)
    drawn = {name: redrawn(name, tuple(a.shape)) for name, a in net.state_dict().items()}
    net.load_state_dict({k: torch.tensor(v, dtype=torch.float32) for k, v in drawn.items()})
    path = tmp_path / "net.pkl"
    path.write_bytes(pickle.dumps({"ema": net}))
    monkeypatch.setattr(sys, "argv", ["convert_edm.py", str(path), str(tmp_path / "converted")])
    convert.main()
    for name in [name for name in sys.modules if name.split(".")[0] in ("training", "torch_utils")]:
        del sys.modules[name]  # those of the other checkout have the same names
    denoise = ej.pretrained.load(tmp_path / "converted")
    assert relative(called(denoise, run, np.float32), run["out32"]) < 1e-5


def test_script_needs_no_edmjax():
    assert "import edmjax" not in SCRIPT.read_text()


@pytest.mark.slow
def test_under_jit_one_program(tmp_path):
    """The denoiser is an argument of `jit`: other weights, no second trace."""
    traces = []

    @jax.jit
    def denoised(denoise, x):
        traces.append(1)
        return denoise(x, 3.0)

    x = jnp.ones((1, 4, 4, 1))
    first = loaded(tmp_path, TINY, np.float32)
    other = jax.tree.map(lambda leaf: leaf * 0.5, first)
    assert not np.allclose(denoised(first, x), denoised(other, x)) and len(traces) == 1
