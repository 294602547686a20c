"""One thing changed at a time, with the shapes of all arrays as they are: each fails a golden."""

import jax.numpy as jnp
import numpy as np
import pytest
from support.nvlabs import error

from edmjax.pretrained.networks import dhariwal, edm_blocks, layers, song

pytestmark = pytest.mark.slow
MODULES = {"song": song, "dhariwal": dhariwal, "blocks": edm_blocks}


def changed(folder, case, options=None):
    return error(folder, case, np.float64, options, compiled=False)


@pytest.mark.parametrize(
    "case, option, value",
    [
        ("edm_ddpmpp", "sigma_data", 0.6),
        ("vp_ddpmpp", "beta_d", 19.9),
        ("vp_ddpmpp", "beta_min", 0.1),
        ("vp_ddpmpp", "M", 999),
        ("edm_ddpmpp", "_class_name", "VEPrecond"),
        ("ve_ncsnpp", "_class_name", "EDMPrecond"),
    ],
)
def test_options(case, option, value, tmp_path, x64):
    assert changed(tmp_path, case, {option: value}) > 1e-7


def flipped(x, taps, change):
    return _resampled(x, taps[..., ::-1, :], change)


def unscaled(q, k, v):
    return layers.attend(q * q.shape[-1] ** 0.5, k, v)


def swapped(q, k, v):
    return layers.attend(k, q, v)


_resampled = edm_blocks.resampled


@pytest.mark.parametrize(
    "case, module, name, value",
    [
        ("edm_ddpmpp", "song", "_EPSILON", 1e-5),
        ("edm_adm", "dhariwal", "_EPSILON", 1e-6),
        ("edm_adm", "dhariwal", "_HEAD", 32),
        ("edm_ddpmpp", "song", "_ROOT_HALF", 1.0),
        ("edm_ncsnpp", "song", "_ROOT_HALF", 0.7),
        ("edm_ncsnpp", "blocks", "resampled", flipped),
        ("edm_skip", "blocks", "resampled", flipped),
        ("edm_adm", "blocks", "resampled", flipped),
        ("edm_ddpmpp", "blocks", "attend", unscaled),
        ("edm_adm", "blocks", "attend", swapped),
    ],
)
def test_constants(case, module, name, value, tmp_path, x64, monkeypatch):
    monkeypatch.setattr(MODULES[module], name, value)
    assert changed(tmp_path, case) > 1e-7


@pytest.mark.parametrize(
    "case, change",
    [
        ("edm_ddpmpp", dict(flip=True)),
        ("edm_ddpmpp", dict(shift=0)),
        ("edm_adm", dict(flip=False)),
        ("edm_adm", dict(shift=1)),
    ],
)
def test_order_of_sine_and_cosine(case, change, tmp_path, x64, monkeypatch):
    for module in (song, dhariwal):
        made = lambda *how: layers.Sinusoids(*how)._replace(**change)  # noqa: E731
        monkeypatch.setattr(module, "Sinusoids", made)
    assert changed(tmp_path, case) > 1e-7


def test_order_of_fourier_features(tmp_path, x64, monkeypatch):
    def cosines_first(self, c):
        angles = c[:, None] * (2 * jnp.pi * self.freqs[...])
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)

    monkeypatch.setattr(song.Fourier, "__call__", cosines_first)
    assert changed(tmp_path, "edm_ncsnpp") > 1e-7


def test_edges_of_a_fused_convolution(tmp_path, x64, monkeypatch):
    """Zeros around its output, in place of what the convolution makes of zeros."""

    def padded_late(self, x):
        y = edm_blocks.conv(x, self.kernel[...], padding=1, impl=self.impl)
        return edm_blocks.resampled(y, self.resample_filter[...], "down") + self.bias[...]

    monkeypatch.setattr(edm_blocks.FusedDown, "__call__", padded_late)
    assert changed(tmp_path, "edm_ncsnpp") > 1e-7


def test_queries_to_values_by_turns(tmp_path, x64, monkeypatch):
    """The order of the channels of `qkv`: values first."""
    monkeypatch.setattr(edm_blocks, "attend", lambda q, k, v: layers.attend(v, k, q))
    assert changed(tmp_path, "edm_adm") > 1e-7
