"""One thing changed at a time, with the shapes of all arrays as they are: each fails a golden."""

import jax
import numpy as np
import pytest
from support.pretrained import golden
from support.pretrained_error import output, relative

import edmjax.pretrained.networks as networks
from edmjax.pretrained.networks import layers

OPTIONS = [
    ("unet2d_default", "norm_eps", 1e-6),
    ("unet2d_default", "attention_head_dim", 4),
    ("unet2d_default", "act_fn", "gelu"),
    ("unet2d_ddpm", "downsample_padding", 1),
    ("unet2d_ddpm", "flip_sin_to_cos", True),
    ("unet2d_ddpm", "freq_shift", 0),
    ("unet2d_options", "mid_block_scale_factor", 1),
    ("unet2d_options", "center_input_sample", False),
    ("unet2d_options", "attn_norm_num_groups", 4),
    ("condition_sd1", "attention_head_dim", 1),
    ("condition_options", "timestep_post_act", None),
    ("condition_options", "time_embedding_act_fn", None),
    ("dit_gelu", "activation_fn", "gelu-approximate"),
    ("dit_options", "norm_eps", 1e-5),
    ("kl_sd", "norm_num_groups", 2),
]


def changed(case, **options):
    """The error of a case with other options."""
    given = dict(golden(case))
    wanted = {key: given.pop(key) for key in [*given] if "out" in key}
    made = output(given, given.pop("config") | options, np.float64)
    return max(relative(made[key], wanted[key]) for key in made)


@pytest.mark.slow
@pytest.mark.parametrize("case, option, value", OPTIONS)
def test_options(case, option, value, x64):
    assert changed(case, **{option: value}) > 1e-7


@pytest.mark.slow
@pytest.mark.parametrize(
    "case, module, name, value",
    [
        ("condition_sd1", networks.unet2d_condition.Transformer.__module__, "_GROUP_EPSILON", 1e-5),
        ("kl_sd", "edmjax.pretrained.networks.kl", "_EPSILON", 1e-5),
        ("dit_xl", "edmjax.pretrained.networks.dit", "_EPSILON", 1e-5),
        ("dit_xl", "edmjax.pretrained.networks.dit", "_TIMES", layers.Sinusoids(256, False, 1)),
    ],
)
def test_constants(case, module, name, value, x64, monkeypatch):
    monkeypatch.setattr(f"{module}.{name}", value)
    assert changed(case) > 1e-7


@pytest.mark.slow
def test_exact_gelu(x64, monkeypatch):
    gelu = jax.nn.gelu
    monkeypatch.setattr(jax.nn, "gelu", lambda x, approximate=True: gelu(x, approximate=True))
    assert changed("condition_sd1") > 1e-7
