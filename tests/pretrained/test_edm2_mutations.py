"""EDM2: one thing changed at a time, with the shapes of all arrays as they are, fails a golden."""

import jax
import numpy as np
import pytest
from support.nvlabs import error

from edmjax.pretrained.networks import edm2, edm_blocks, layers

pytestmark = pytest.mark.slow


def changed(folder, options=None):
    return error(folder, "edm2_options", np.float64, options, compiled=False)


@pytest.mark.parametrize(
    "option, value",
    [
        ("sigma_data", 0.5),
        ("label_balance", 0.5),
        ("concat_balance", 0.5),
        ("resample_filter", [1, 1]),
        ("res_balance", 0.3),
        ("attn_balance", 0.3),
        ("clip_act", 256),
        ("channels_per_head", 16),
    ],
)
def test_options(option, value, tmp_path, x64):
    assert changed(tmp_path, {option: value}) > 1e-7


def unscaled(q, k, v):
    return layers.attend(q * q.shape[-1] ** 0.5, k, v)


def doubled(x, taps, change):
    return 2 * edm_blocks.resampled(x, taps, change)


@pytest.mark.parametrize(
    "name, value",
    [
        ("_EPSILON", 1e-8),
        ("attend", unscaled),
        ("resampled", doubled),
        ("mp_silu", jax.nn.silu),
    ],
)
def test_constants(name, value, tmp_path, x64, monkeypatch):
    monkeypatch.setattr(edm2, name, value)
    assert changed(tmp_path) > 1e-7
