"""Guidance of several outputs, of trees and in half precision, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.helpers import later

from edmjax import guidance as g

RNG = np.random.default_rng(1)
X = RNG.normal(size=(6, 3))


def pair(pos, neg, scale):
    """A guided denoiser of two given outputs."""
    return g.autoguidance(*(Partial(lambda v, x, sigma: v, v) for v in (pos, neg)), scale)


# ---- several outputs


def several(k):
    def denoise(x, sigma, cond):
        shift = cond[:, None]
        return {"x0": k * x + shift, "raw": 2 * k * x + shift, "log_var": x + 10 * shift}

    return denoise


@pytest.mark.parametrize("one_call", [True, False])
def test_outputs_of_the_branches(x64, one_call):
    cond = RNG.normal(size=6)
    guided = g.classifier_free(several(0.5), 3.0, uncond=0.0, one_call=one_call)
    out, shift = guided(X, 1.0, cond), cond[:, None]
    np.testing.assert_allclose(out["x0"], 0.5 * X + 3 * shift, rtol=1e-12)
    np.testing.assert_allclose(out["raw"], X + 3 * shift, rtol=1e-12)
    np.testing.assert_allclose(out["log_var"], X + 10 * shift, rtol=1e-12)
    # Of CFG++ the raw output of the unconditional branch.
    out = g.cfg_pp(several(0.5), 3.0, uncond=0.0, one_call=one_call)(X, 1.0, cond)
    np.testing.assert_allclose(out["x0"], 0.5 * X + 3 * shift, rtol=1e-12)
    np.testing.assert_allclose(out["raw"], X, rtol=1e-12)
    np.testing.assert_allclose(out["log_var"], X + 10 * shift, rtol=1e-12)


def test_raw_is_what_the_rules_make_of_the_raw_outputs(x64):
    cond = RNG.normal(size=6)

    def rules(net):
        guided = g.classifier_free(net, 3.0, uncond=0.0)
        return g.rescale(g.adaptive_projected(guided, 0.3, 2.0), 0.5)

    out = rules(several(0.5))(X, 1.0, cond)
    for name in ("x0", "raw"):
        alone = rules(lambda x, sigma, c, name=name: several(0.5)(x, sigma, c)[name])(X, 1.0, cond)
        np.testing.assert_allclose(out[name], alone, rtol=1e-12)


def test_a_threshold_keeps_the_other_outputs(x64):
    for threshold in (lambda f: g.clip(f, -0.2, 0.1), g.dynamic_threshold):
        given = several(0.5)(X, 1.0, np.ones(6))
        out = threshold(several(0.5))(X, 1.0, np.ones(6))
        assert set(out) == set(given)
        np.testing.assert_array_equal(out["raw"], given["raw"])
        np.testing.assert_array_equal(out["log_var"], given["log_var"])
        assert not np.allclose(out["x0"], given["x0"])


def test_a_guide_of_one_output_has_the_same_raw(x64):
    guided = g.autoguidance(several(0.5), lambda x, sigma, cond: 0.1 * x, 2.0)
    out = guided(X, 1.0, np.zeros(6))
    np.testing.assert_allclose(out["x0"], 0.9 * X, rtol=1e-12)
    np.testing.assert_allclose(out["raw"], 1.9 * X, rtol=1e-12)
    assert isinstance(
        g.autoguidance(lambda x, s, c: x, several(0.5), 2.0)(X, 1.0, np.zeros(6)), jax.Array
    )


# ---- pytrees, samples, precision, gradients

RULES = {
    "linear": lambda f: f,
    "interval": lambda f: g.interval(f, 0.5, 2.0),
    "projected": lambda f: g.adaptive_projected(f, 0.3, 2.0),
    "rescaled": lambda f: g.rescale(f, 0.6),
    "clipped": lambda f: g.clip(f, -0.5, 0.4),
    "dynamic": lambda f: g.dynamic_threshold(f, 0.7),
}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def x0_of(out):
    return out["x0"] if isinstance(out, dict) and "x0" in out else out


@rules
def test_a_pytree_is_one_vector_a_sample(x64, rule):
    """Leaves of two shapes give what their entries side by side give, and rows give what each row
    alone gives."""
    parts = RNG.normal(size=(3, 4, 10)) * np.array([1.0, 1.0, 1.5])[:, None, None]

    def split(v):
        return {"a": v[:, :4].reshape(-1, 2, 2), "b": v[:, 4:]}

    x, pos, neg = parts
    whole = x0_of(rule(pair(pos, neg, 3.0))(x, 1.0))
    tree = x0_of(rule(pair(split(pos), split(neg), 3.0))(split(x), 1.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), tree, split(whole))
    alone = x0_of(rule(pair(pos[2:3], neg[2:3], 3.0))(x[2:3], 1.0))
    np.testing.assert_allclose(alone, whole[2:3], rtol=1e-12)


@rules
@pytest.mark.parametrize("dtype", [jnp.float16, *later(jnp.bfloat16)])
def test_half_precision_is_rounded_at_the_end_alone(rule, dtype):
    """A gap of norm 283 and entries of 1,000: in float16 the sums of squares would overflow."""
    x, pos, neg = (jnp.asarray(v, dtype) for v in 1000 + RNG.normal(size=(3, 2, 400)) * 10)
    got = x0_of(rule(pair(pos, neg, 3.0))(x, 1.0))
    assert got.dtype == dtype
    with jax.enable_x64(True):
        exact = x0_of(
            rule(pair(*(np.asarray(v, np.float64) for v in (pos, neg)), 3.0))(
                np.asarray(x, np.float64), 1.0
            )
        )
    ulp = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(got, np.float64), exact, rtol=0.51 * ulp)


@rules
def test_slopes_in_the_scale(x64, rule):
    x, pos, neg = RNG.normal(size=(3, 4, 5))

    def loss(scale):
        return jnp.sum(jnp.sin(x0_of(rule(pair(pos, neg, scale))(x, 1.0))))

    slope = (loss(np.array(2.0 + 1e-6)) - loss(np.array(2.0 - 1e-6))) / 2e-6
    np.testing.assert_allclose(jax.grad(loss)(2.0), slope, rtol=1e-7, atol=1e-9)


@rules
def test_slopes_are_finite_where_there_is_nothing_to_guide_by(rule):
    """Equal branches, zero outputs and samples without spread."""

    def loss(scale, pos, neg):
        return jnp.sum(x0_of(rule(pair(pos, neg, scale))(jnp.zeros((3, 4)), 1.0)))

    pos = jnp.array([[1.0] * 4, [0.0] * 4, [1.0, 2.0, 0.0, 0.0]])
    for neg in (pos, jnp.zeros((3, 4))):
        value, slopes = jax.value_and_grad(loss, argnums=(0, 1, 2))(2.0, pos, neg)
        assert all(np.isfinite(v).all() for v in (value, *slopes))
