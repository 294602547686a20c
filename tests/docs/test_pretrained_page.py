"""The code of docs/pretrained.md runs, on directories of its names that hold tiny networks."""

import jax
import numpy as np
import pytest
from support import pages
from support.pretrained import golden, normal, save, save_pipeline

EULER = golden("system_sgm")["config"]["scheduler"]
PNDM = {k: v for k, v in EULER.items() if k.startswith("beta") or k == "steps_offset"}
PNDM |= {"_class_name": "PNDMScheduler", "set_alpha_to_one": False, "skip_prk_steps": True}


def run(*which, **names):
    """The names that these blocks leave behind."""
    document, examples = pages.examples_of("pretrained")
    document.namespace.update(names)
    for i in which:
        examples[i].evaluate()
    return document.namespace


def latent(name, network, scheduler):
    save_pipeline(name, golden(network)["config"], scheduler, dtype=np.float16, variant="fp16")
    save(name / "vae", golden("kl_sd")["config"], np.float16, variant="fp16")
    index = (name / "model_index.json").read_text()
    vae = '{"vae": ["diffusers", "AutoencoderKL"], '
    (name / "model_index.json").write_text(index.replace("{", vae, 1))


def are_pictures(images, shape):
    assert images.shape == shape and np.isfinite(images).all()
    assert images.min() >= 0 and images.max() <= 1 and np.std(images) > 0.01


@pytest.mark.slow
def test_networks_of_the_package(unchecked):
    names = run(0)
    assert names["x0"].shape == (10, 28, 28, 1)
    assert np.isfinite(names["x0"]).all() and np.abs(names["x0"]).max() < 1.5


@pytest.mark.slow
def test_stable_diffusion(tmp_path, monkeypatch, unchecked):
    monkeypatch.chdir(tmp_path)
    latent(tmp_path / "stable-diffusion-v1-5", "condition_sd1", PNDM)
    words = [normal(name, (1, 3, 6)).astype(np.float32) for name in ("prompt", "nothing")]
    names = run(1, prompt=words[0], nothing=words[1])
    are_pictures(names["images"], (4, 16, 16, 3))
    again = names["pictures"](
        *(names[key] for key in ("denoise", "autoencoder", "plan", "noise")), *words[::-1], 3.0
    )
    assert names["pictures"]._cache_size() == 1
    assert np.abs(again - names["images"]).max() > 0.01


@pytest.mark.slow
def test_sdxl(tmp_path, monkeypatch, unchecked):
    monkeypatch.chdir(tmp_path)
    latent(tmp_path / "stable-diffusion-xl-base-1.0", "condition_sdxl", EULER)
    encoded = {
        name: tuple(
            normal(f"{name} {i}", shape).astype(np.float32)
            for i, shape in enumerate([(1, 3, 6), (1, 5)])
        )
        for name in ("encoded", "encoded_nothing")
    }
    names = run(2, **encoded)
    are_pictures(names["images"], (4, 16, 16, 3))
    names = run(2, 3, **encoded)
    are_pictures(names["images"], (4, 16, 16, 3))
    assert names["plan"].num_draws == 40


@pytest.mark.slow
def test_pixels(tmp_path, monkeypatch, unchecked):
    monkeypatch.chdir(tmp_path)
    save_pipeline(
        tmp_path / "ddpm-cifar10-32",
        golden("unet2d_plain")["config"] | {"class_embed_type": None},
        {"_class_name": "DDPMScheduler", "variance_type": "fixed_large"},
        dtype=np.float32,
    )
    names = run(4)
    are_pictures(names["images"], (16, 8, 8, 3))
    noise = jax.random.normal(jax.random.key(3), names["noise"].shape)
    names["pictures"](names["denoise"], names["plan"], noise, names["key"])
    assert names["pictures"]._cache_size() == 1
