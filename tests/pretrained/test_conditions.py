"""Denoisers of conditional networks from a directory, and the autoencoder beside them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.pretrained import golden, save, save_pipeline

import edmjax as ej

EULER = {"_class_name": "EulerDiscreteScheduler", "beta_schedule": "scaled_linear"}


@pytest.mark.slow
def test_sdxl_under_guidance(tmp_path, x64):
    """The denoiser is `x - sigma eps`; guided, it is the extrapolation of two calls."""
    case = dict(golden("condition_sdxl"))
    save_pipeline(tmp_path, case["config"], EULER | {"beta_start": 0.00085, "beta_end": 0.012})
    denoise = ej.pretrained.load(tmp_path)
    keys = ("encoder_hidden_states", "text_embeds", "time_ids")
    cond = {key: jnp.asarray(case[key]) for key in keys}
    sigma = denoise.process.sigma(case["t"][0])
    x = jnp.asarray(np.moveaxis(case["x"], 1, -1))[:1] / denoise.process.scale(case["t"][0])
    one = jax.tree.map(lambda leaf: leaf[:1], cond)
    out = np.moveaxis(case["out"], 1, -1)[:1]
    np.testing.assert_allclose(denoise(x, sigma, one), x - sigma * out, atol=1e-9)
    uncond = jax.tree.map(jnp.zeros_like, one)
    guided = ej.guidance.classifier_free(denoise, 7.0, uncond=uncond)
    plain = denoise(x, sigma, uncond)
    wanted = plain + 7 * (denoise(x, sigma, one) - plain)
    np.testing.assert_allclose(guided(x, sigma, one), wanted, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="there is no 'time_ids'"):
        denoise(x, sigma, {key: one[key] for key in keys[:2]})
    with pytest.raises(ValueError, match=r"must have shape \(batch, words, 6\)"):
        denoise(x, sigma, one | {"encoder_hidden_states": jnp.zeros((1, 3, 5))})


@pytest.mark.slow
def test_dit_with_a_learned_variance(tmp_path, x64):
    case = golden("dit_xl")
    save_pipeline(tmp_path, case["config"], {"_class_name": "DDIMScheduler", "clip_sample": False})
    denoise = ej.pretrained.load(tmp_path)
    assert denoise.shape == (8, 8, 4)
    x, t = np.moveaxis(case["x"], 1, -1), case["t"][1]
    sigma, scale = denoise.process.sigma(t), denoise.process.scale(t)
    made = denoise(
        jnp.asarray(x / scale), sigma, {"class_labels": jnp.asarray(case["class_labels"])}
    )
    out = np.moveaxis(case["out"], 1, -1)
    # The second sample of the golden is the one at this timestep.
    np.testing.assert_allclose(made["x0"][1], (x / scale - sigma * out[..., :4])[1], atol=1e-6)
    np.testing.assert_allclose(made["log_var"][1], out[1, ..., 4:], atol=1e-9)


@pytest.mark.slow
def test_autoencoder(tmp_path, x64):
    case = golden("kl_options")
    save(tmp_path, case["config"])
    model = ej.pretrained.load_autoencoder(tmp_path)
    x, z = (jnp.asarray(np.moveaxis(case[key], 1, -1)) for key in "xz")
    mean, log_var = np.split(np.moveaxis(case["moments_out"], 1, -1), 2, axis=-1)
    factor, shift = 0.18215, 0.1
    np.testing.assert_allclose(model.encode(x), (mean - shift) * factor, atol=1e-9)
    drawn = model.encode(x, jax.random.key(0)) / factor + shift - mean
    noise = drawn / np.exp(log_var / 2)
    assert 0.5 < np.std(noise) < 1.5
    out = np.moveaxis(case["out"], 1, -1)
    np.testing.assert_allclose(model.decode((z - shift) * factor), out, atol=1e-9)
