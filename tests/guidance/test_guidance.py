"""Guidance: closed forms, transcriptions from the papers, evaluations and copies of the network."""

import dataclasses
import json
import math
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial, register_dataclass
from support import orders
from support.helpers import compilations, later

import edmjax as ej
from edmjax import guidance as g, samplers as s
from edmjax.samplers import euler_cfg_pp

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "support" / "golden"
RNG = np.random.default_rng(0)
NULL = 2  # the label of the unconditional branch
# Two classes of two components each; the data are both.
WEIGHTS = np.array([0.35, 0.15, 0.3, 0.2])
MEANS = np.array([[1.0, 0.2, 0.0], [0.4, -0.8, 0.3], [-1.0, 0.5, 0.1], [0.0, -1.0, -0.6]])
VARIANCES = np.array([0.04, 0.09, 0.02, 0.16])
X = RNG.normal(size=(6, 3))
LABELS = np.array([0, 1, 0, 1, 1, 0], np.int32)


def law(label):
    """The law of a class as a problem; of all data for `NULL`."""
    own = slice(None) if label == NULL else slice(2 * label, 2 * label + 2)
    return ej.problems.Mixture(WEIGHTS[own] / WEIGHTS[own].sum(), MEANS[own], VARIANCES[own])


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """The exact denoiser of a label: of its class, or of all data for the label `NULL`."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def __call__(self, x, sigma, label):
        total = jnp.asarray(self.variances, x.dtype) + jnp.reshape(sigma, (-1, 1)) ** 2
        gaps = x[:, None, :] - jnp.asarray(self.means, x.dtype)
        other = (label[:, None] != NULL) & (jnp.arange(4) // 2 != label[:, None])
        logits = jnp.log(self.weights) - x.shape[1] / 2 * jnp.log(total)
        logits = logits - jnp.sum(gaps**2, axis=2) / (2 * total)
        shares = jax.nn.softmax(jnp.where(other, -jnp.inf, logits))
        parts = self.means + (jnp.asarray(self.variances) / total)[..., None] * gaps
        return jnp.sum(shares[..., None] * parts, axis=1).astype(x.dtype)


NET = Labelled(WEIGHTS, MEANS, VARIANCES)


def cfg(scale, net=NET, **options):
    return g.classifier_free(net, scale, **{"uncond": np.int32(NULL)} | options)


def halves(x=X, sigma=0.7):
    """The conditional and the unconditional output, by the problems."""
    pos = np.stack([law(c).denoise(x[i], sigma) for i, c in enumerate(LABELS)])
    return pos, np.asarray(law(NULL).denoise(x, sigma))


def pair(pos, neg, scale, make=g.autoguidance):
    """A guided denoiser of two given outputs."""
    return make(Partial(lambda v, x, sigma: v, pos), Partial(lambda v, x, sigma: v, neg), scale)


# ---- the linear rule


@pytest.mark.parametrize("one_call", [True, False])
def test_the_guided_score_is_that_of_the_powers_of_the_densities(x64, one_call):
    """grad [w log p(x | c) + (1 - w) log p(x)], with the densities differentiated by JAX."""
    sigma, scale = 0.7, 2.5
    guided = cfg(scale, one_call=one_call)
    got = ej.denoisers.to_score(guided)(X, sigma, LABELS)

    @jax.jit
    @jax.grad
    def score(x, label):
        of_class = jnp.stack([law(c).log_prob(x, sigma) for c in (0, 1)], axis=1)
        of_class = jnp.take_along_axis(of_class, label[:, None], axis=1)[:, 0]
        return jnp.sum(scale * of_class + (1 - scale) * law(NULL).log_prob(x, sigma))

    np.testing.assert_allclose(got, score(X, LABELS), rtol=1e-10)


@pytest.mark.parametrize("scale", [*later(0.0, 1.0), 3.0])
def test_two_gaussians_make_the_gaussian_of_their_powers(x64, scale):
    sigma, means, variances = 0.8, (0.5, -0.3), (0.2, 1.1)
    pos, neg = (ej.problems.Gaussian([m], v) for m, v in zip(means, variances, strict=True))
    precisions = np.array([scale, 1 - scale]) / (np.array(variances) + sigma**2)
    mean = np.sum(precisions * means) / np.sum(precisions)
    x = np.linspace(-3, 3, 7)[:, None]
    got = g.autoguidance(lambda x, s: pos.denoise(x, s), lambda x, s: neg.denoise(x, s), scale)
    score = -np.sum(precisions) * (x - mean)
    np.testing.assert_allclose(got(x, sigma), x + sigma**2 * score, rtol=1e-12, atol=1e-14)


def test_scales_and_levels_may_be_one_a_sample(x64):
    scale, sigma = np.linspace(-1, 4, 6), np.geomspace(0.1, 10, 6)
    alone = jax.jit(lambda w, *args: cfg(w)(*args))
    for one_call in (True, False):
        got = cfg(scale, one_call=one_call)(X, sigma, LABELS)
        for i in range(6):
            want = alone(scale[i], X[i : i + 1], sigma[i], LABELS[i : i + 1])
            np.testing.assert_allclose(got[i : i + 1], want, rtol=1e-12)


def test_the_ends_of_the_scale(x64):
    pos, neg = halves()
    np.testing.assert_allclose(cfg(0.0)(X, 0.7, LABELS), neg, rtol=1e-12)
    np.testing.assert_allclose(cfg(1.0)(X, 0.7, LABELS), pos, rtol=1e-12)
    # Known at run time alone, a scale of 1 is the positive branch to the bit as well.
    exact = NET(jnp.asarray(X), 0.7, jnp.asarray(LABELS))
    two_calls = cfg(np.array(1.0), one_call=False)(X, 0.7, LABELS)
    np.testing.assert_array_equal(two_calls, exact)


# ---- conditions


def test_conditions_of_any_structure(x64):
    def net(x, sigma, cond):
        return x * cond["scale"] + cond["text"].sum(axis=1)

    text = RNG.normal(size=(6, 5, 3))
    cond = {"text": text, "scale": RNG.normal(size=(6, 1))}
    plain = {"text": np.zeros((5, 3)), "scale": 0.5}
    # Python numbers of the structure, and one negative prompt a sample.
    negative = {"text": RNG.normal(size=(6, 5, 3)), "scale": np.ones((6, 1))}
    for uncond in (plain | {"scale": np.full(1, 0.5)}, negative):
        shown = jax.tree.map(np.broadcast_to, uncond, {"text": (6, 5, 3), "scale": (6, 1)})
        pos, neg = net(X, 1.0, cond), net(X, 1.0, shown)
        for one_call in (True, False):
            guided = g.classifier_free(net, 2.0, uncond=uncond, one_call=one_call)
            np.testing.assert_allclose(guided(X, 1.0, cond), 2 * pos - neg, rtol=1e-12)


def test_a_condition_keeps_its_dtype():
    seen = []

    def net(x, sigma, cond):
        seen.append(cond.dtype)
        return x

    g.classifier_free(net, 2.0, uncond=7)(X, 1.0, LABELS)
    g.classifier_free(net, 2.0, uncond=0)(X, 1.0, np.ones(6, np.float16))
    assert seen == [jnp.int32, jnp.float16]


# ---- evaluations, copies, compilations


def counted():
    """A denoiser of labels, and the list of the numbers of rows that it was evaluated on."""
    rows = []

    def denoise(x, sigma, label):
        jax.debug.callback(lambda: rows.append(x.shape[0]))
        return 0.5 * x + label[:, None]

    return denoise, rows


@pytest.mark.parametrize(
    ("scale", "one_call", "rows"),
    [
        (1, True, [6] * 3),
        pytest.param(1.0, False, [6] * 3, marks=pytest.mark.thorough),
        pytest.param(2.0, True, [12] * 3, marks=pytest.mark.thorough),
        (2.0, False, [6] * 6),
    ],
)
def test_evaluations(scale, one_call, rows):
    denoise, got = counted()
    plan = ej.make_plan(s.euler(), [3.0, 2.0, 1.0, 0.0])
    guided = g.rescale(g.interval(cfg(scale, denoise, one_call=one_call), 1.5, 5.0))
    jax.block_until_ready(ej.sample(guided, plan, X, cond=LABELS))
    jax.effects_barrier()
    assert got == rows


def test_scale_1_is_the_conditional_network_to_the_bit_and_needs_no_other():
    x, label = jnp.asarray(X, jnp.float32), jnp.asarray(LABELS)
    alone = NET(x, 0.7, label)
    np.testing.assert_array_equal(g.classifier_free(NET, 1)(x, 0.7, label), alone)
    unused = g.autoguidance(NET, lambda *_: pytest.fail("the guide was called"), np.float32(1))
    np.testing.assert_array_equal(unused(x, 0.7, label), alone)
    for rule in (lambda f: g.interval(f, 0.0, 9.0), g.adaptive_projected, g.rescale):
        np.testing.assert_array_equal(rule(cfg(1.0))(x, 0.7, label), alone)


def lowered(make):
    def net(x, sigma, label):
        return jnp.tanh(x @ jnp.ones((3, 3))) + label[:, None]

    plan = ej.make_plan(s.heun(), [3.0, 2.0, 1.0, 0.0])
    run = jax.jit(lambda scale, x: ej.sample(make(net, scale), plan, x, cond=LABELS))
    return run.lower(2.0, jnp.asarray(X)).as_text().count("stablehlo.tanh")


def test_copies_of_the_network():
    assert lowered(lambda net, w: cfg(w, net)) == 1
    assert lowered(lambda net, w: g.interval(cfg(w, net), 0.5, 2.0)) == 1
    assert lowered(lambda net, w: g.clip(g.rescale(g.adaptive_projected(cfg(w, net))))) == 1
    assert lowered(lambda net, w: g.cfg_pp(net, w, uncond=NULL)) == 1
    assert lowered(lambda net, w: cfg(w, net, one_call=False)) == 2
    assert lowered(lambda net, w: g.autoguidance(net, net, w)) == 2


def test_other_numbers_are_not_compiled_for_again():
    def run(scale, low, eta, longest, phi, bound, quantile, label, n):
        guided = g.interval(cfg(scale, uncond=label), low, 5.0)
        guided = g.rescale(g.adaptive_projected(guided, eta, longest), phi)
        bounded = g.dynamic_threshold(g.clip(guided, -bound, bound), quantile)
        plan = ej.make_plan(euler_cfg_pp(), np.linspace(4.0, n, 4))
        return ej.sample(bounded, plan, jnp.asarray(X, jnp.float32), cond=LABELS)

    first = jax.block_until_ready(run(2.0, 0.5, 0.5, 3.0, 0.7, 1.5, 0.9, np.int32(2), 1.0))
    with compilations() as programs:
        # NumPy and JAX scalars too, and a scale of 1 that is not a number.
        other = run(np.array(1.0), 0, 1, math.inf, np.float32(0.1), 2, 0.5, np.int32(0), 0.5)
        jax.block_until_ready(run(7.5, 0.1, -0.1, 9.0, 1.0, 0.3, 1.0, np.int32(1), 0.1))
    assert programs == []
    assert not np.allclose(first, other)


def test_a_scale_for_each_step_is_a_function_of_the_level(x64):
    """The way that the error names, against a loop in NumPy with one scale a step."""
    sigmas = ej.schedules.karras(9)
    plan, scales = ej.make_plan(s.euler(), sigmas), np.linspace(4.0, -1.0, 9)
    x = 80 * X
    with pytest.raises(ValueError, match=r"\(9,\) and `x` holds 6.* jnp.interp\(sigma, levels,"):
        ej.sample(cfg(scales), plan, x, cond=LABELS)

    def guided(x, sigma, cond):
        return cfg(jnp.interp(sigma, sigmas[-2::-1], scales[::-1]))(x, sigma, cond)

    by_step = iter(scales)

    def one(x, sigma):
        pos, neg = halves(x, sigma)
        return neg + next(by_step) * (pos - neg)

    want = orders.run(one, plan, x)
    np.testing.assert_allclose(ej.sample(guided, plan, x, cond=LABELS), want, rtol=1e-9)


def test_a_scale_under_vmap_and_jit(x64):
    plan = ej.make_plan(s.euler(), [3.0, 1.0, 0.0])
    scales = np.array([0.0, 1.0, 4.0])
    got = jax.jit(jax.vmap(lambda w: ej.sample(cfg(w), plan, X, cond=LABELS)))(scales)
    for scale, samples in zip(scales, got, strict=True):
        one = ej.sample(cfg(scale), plan, X, cond=LABELS)
        np.testing.assert_allclose(samples, one, rtol=1e-12, atol=1e-14)


def test_on_a_mesh_both_branches_stay_on_the_device_of_their_sample():
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    x, label = jax.device_put((jnp.ones((8, 3)), jnp.zeros(8, jnp.int32)), split)
    guided = g.rescale(g.adaptive_projected(cfg(2.0)))
    program = jax.jit(lambda x, label: guided(x, 0.7, label)).lower(x, label).compile()
    moved = r"all-gather|all-reduce|all-to-all|collective-permute"
    assert re.findall(moved, program.as_text()) == []


# ---- the interval


def test_the_interval_is_open_below_and_closed_above(x64):
    pos, neg = halves()
    guided = cfg(3.0)
    for low, high, inside in ((0.3, 0.7, True), (0.7, 0.9, False), (0.1, 0.6, False)):
        want = 3 * pos - 2 * neg if inside else pos
        got = g.interval(guided, low, high)(X, 0.7, LABELS)
        np.testing.assert_allclose(got, want, rtol=1e-12)
    # A level a sample.
    sigma = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 5.0])
    got = g.interval(guided, 0.3, 0.7)(X, sigma, LABELS)
    inside = (sigma > 0.3) & (sigma <= 0.7)
    want = np.where(inside[:, None], guided(X, sigma, LABELS), NET(X, sigma, LABELS))
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("wide", [True, False])
def test_a_bound_that_is_a_level_of_the_grid_is_in_the_interval_in_float32(wide):
    """0.3 is no float32: rounded down in the loop, a bound in float64 would leave it out below."""
    with jax.enable_x64(wide):
        x = jnp.asarray(X, jnp.float32)
        for level in (0.3, 0.7):
            sigma = jnp.float32(level)
            inside = g.interval(cfg(3.0), 0.1, level)(x, sigma, LABELS)
            np.testing.assert_array_equal(inside, cfg(3.0)(x, sigma, LABELS))
            outside = g.interval(cfg(3.0), level, 9.0)(x, sigma, LABELS)
            np.testing.assert_allclose(outside, NET(x, sigma, LABELS), rtol=1e-6)


# ---- rescaling


def rescaled(pos, cfg_out, phi):
    """Lin et al., section 3.4, on arrays with the samples on axis 0."""
    axes = tuple(range(1, pos.ndim))
    rescaled = cfg_out * pos.std(axes, keepdims=True) / cfg_out.std(axes, keepdims=True)
    return phi * rescaled + (1 - phi) * cfg_out


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("prediction", ["v", "eps", "x0"])
def test_rescale_is_the_papers_in_what_the_network_predicts(x64, prediction, phi):
    """A network of eps or v is guided and rescaled as such, and then converted to a denoiser."""
    sigma, scale = 1.3, 4.0
    x, pos, neg = RNG.normal(size=(3, 4, 2, 5))
    alpha = 1 / math.hypot(1, sigma)
    to, back = {
        "x0": (lambda d: d, lambda p: p),
        "eps": (lambda d: (x - d) / sigma, lambda p: x - sigma * p),
        "v": (
            lambda d: alpha * (x - d) / sigma - sigma * alpha * d,
            lambda p: alpha * (alpha * x) - sigma * alpha * p,
        ),
    }[prediction]
    linear = to(neg) + scale * (to(pos) - to(neg))
    want = back(rescaled(to(pos), linear, phi))
    got = g.rescale(pair(pos, neg, scale), phi, prediction)(x, sigma)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


def test_rescaling_comes_after_the_rule_inside(x64):
    x, pos, neg = RNG.normal(size=(3, 4, 5))
    inner = g.adaptive_projected(pair(pos, neg, 4.0), 0.0, 1.0)
    want = rescaled(pos, np.asarray(inner(x, 1.0)), 0.7)
    np.testing.assert_allclose(g.rescale(inner, 0.7, "x0")(x, 1.0), want, rtol=1e-11)
    # Outside of an interval there is nothing to rescale.
    outside = g.rescale(g.interval(pair(pos, neg, 4.0), 2.0, 3.0), 1.0)
    np.testing.assert_allclose(outside(x, 1.0), pos, rtol=1e-12)


# ---- adaptive projection


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("longest", [0.8, 2.0, math.inf])
def test_adaptive_projection_is_the_papers(x64, eta, longest):
    """Sample by sample, with the projection by a basis that starts with D_pos."""
    scale, (pos, neg) = 5.0, RNG.normal(size=(2, 7, 2, 3))
    neg[0] = pos[0] + 0.01
    got = g.adaptive_projected(pair(pos, neg, scale), eta, longest)(pos, 1.0)
    for p, n, value in zip(pos, neg, got, strict=True):
        gap = (p - n).ravel()
        gap = gap * min(1, longest / np.linalg.norm(gap))
        basis, _ = np.linalg.qr(np.column_stack([p.ravel(), np.eye(6)[:, :5]]))
        parts = basis.T @ gap
        parts[0] *= eta
        want = p + (scale - 1) * (basis @ parts).reshape(p.shape)
        np.testing.assert_allclose(value, want, rtol=1e-11, atol=1e-12)


def test_adaptive_projection_with_eta_1_is_linear_and_keeps_the_interval(x64):
    got = g.adaptive_projected(cfg(3.0), eta=1.0)(X, 0.7, LABELS)
    np.testing.assert_allclose(got, cfg(3.0)(X, 0.7, LABELS), rtol=1e-12)
    outside = g.adaptive_projected(g.interval(cfg(3.0), 1.0, 2.0))(X, 0.7, LABELS)
    np.testing.assert_allclose(outside, halves()[0], rtol=1e-12)


# ---- CFG++


def frame(sigma):
    return 1 / np.sqrt(1 + np.asarray(sigma) ** 2)


def test_cfg_pp_is_algorithm_2_in_the_variance_preserving_frame(x64):
    levels, scale = np.array([5.0, 2.0, 0.9, 0.3, 0.0]), 0.6
    got = ej.sample(
        g.cfg_pp(NET, scale, uncond=NULL), ej.make_plan(euler_cfg_pp(), levels), 5 * X, cond=LABELS
    )
    alpha_bar = frame(levels) ** 2
    z = 5 * X * np.sqrt(alpha_bar[0])
    for i in range(4):
        pos, neg = halves(z / np.sqrt(alpha_bar[i]), levels[i])
        size = np.sqrt(1 - alpha_bar[i])
        eps, eps_null = ((z - np.sqrt(alpha_bar[i]) * d) / size for d in (pos, neg))
        eps = eps_null + scale * (eps - eps_null)
        x0 = (z - size * eps) / np.sqrt(alpha_bar[i])
        z = np.sqrt(alpha_bar[i + 1]) * x0 + np.sqrt(1 - alpha_bar[i + 1]) * eps_null
    np.testing.assert_allclose(got, z, rtol=1e-11, atol=1e-13)


def test_a_cfg_pp_step_is_a_step_guided_by_the_scale_it_says(x64):
    plan, plain = (ej.make_plan(f(), [2.0, 1.5]) for f in (euler_cfg_pp, s.euler))
    got = ej.sample(g.cfg_pp(NET, 0.5, uncond=NULL), plan, X, cond=LABELS)
    want = ej.sample(cfg(0.5 / (1 - 0.75)), plain, X, cond=LABELS)
    np.testing.assert_allclose(got, want, rtol=1e-11)


def test_cfg_pp_with_noise_and_its_ends(x64):
    plan = ej.make_plan(s.ancestral(euler_cfg_pp()), [2.0, 1.0])
    noise, (pos, neg) = RNG.normal(size=(1, 6, 3)), halves(X, 2.0)
    got = ej.sample(g.cfg_pp(NET, 0.5, uncond=NULL), plan, X, noise=noise, cond=LABELS)
    up = math.sqrt(1 - 1 / 4)
    want = (pos + neg) / 2 + 0.5 * (X - neg) / 2 + up * noise[0]  # down to sqrt(1 - 3/4)
    np.testing.assert_allclose(got, want, rtol=1e-11)
    # At 1 the direction is still the unconditional one.
    out = g.cfg_pp(NET, 1.0, uncond=NULL)(X, 2.0, LABELS)
    np.testing.assert_allclose(out["x0"], pos, rtol=1e-12)
    np.testing.assert_allclose(out["raw"], neg, rtol=1e-12)


def test_with_one_output_the_sampler_is_euler():
    grid = ej.schedules.karras(6)
    plan, plain = ej.make_plan(euler_cfg_pp(), grid), ej.make_plan(s.euler(), grid)
    np.testing.assert_allclose(plan.y, plain.y, rtol=1e-14)
    np.testing.assert_allclose(plan.d + plan.r, plain.d, rtol=1e-13, atol=1e-15)


# ---- thresholds


@pytest.mark.parametrize(
    "case", json.loads((GOLDEN / "thresholds.json").read_text())["cases"], ids=lambda c: c["id"]
)
def test_thresholds_in_ddim_as_in_diffusers(x64, case):
    stored = json.loads((GOLDEN / "problem.json").read_text())
    sigmas = json.loads((GOLDEN / "thresholds.json").read_text())["sigmas"]
    problem = ej.problems.Mixture(stored["weights"], stored["means"], stored["std"] ** 2)
    config, options = case["config"], case["step_kwargs"]
    if config.get("thresholding"):
        quantile, highest = config["dynamic_thresholding_ratio"], config["sample_max_value"]
        denoise = g.dynamic_threshold(problem, quantile, highest)
    else:
        bound = config.get("clip_sample_range", 1.0)
        denoise = g.clip(problem, -bound, bound)
    inner = s.euler() if options.get("use_clipped_model_output") else euler_cfg_pp()
    plan = ej.make_plan(s.ancestral(inner, options["eta"]), sigmas)
    x = np.array(stored["noise"]) / frame(sigmas[0])
    noise = np.array(stored["bank"])[: plan.num_draws] if plan.num_draws else None
    got = ej.sample(denoise, plan, x, noise=noise)
    np.testing.assert_allclose(got, case["x"], rtol=0, atol=1e-9)


def test_dynamic_thresholding_is_imagens(x64):
    x0 = RNG.normal(size=(5, 4, 6)) * np.array([0.2, 0.5, 1, 2, 8])[:, None, None]
    for quantile, highest in ((0.995, math.inf), (0.8, math.inf), (0.9, 1.5), (0.9, 1.0)):
        out = g.dynamic_threshold(lambda x, sigma: x, quantile, highest)(x0, 1.0)
        for i, (got, value) in enumerate(zip(out["x0"], x0, strict=True)):
            bound = min(max(np.quantile(np.abs(value), quantile), 1), highest)
            np.testing.assert_allclose(got, np.clip(value, -bound, bound) / bound, rtol=1e-12)
            assert bound > 1 or i < 3 or highest == 1
        np.testing.assert_array_equal(out["raw"], x0)
    np.testing.assert_array_equal(out["x0"], g.clip(lambda x, sigma: x)(x0, 1.0)["x0"])


# ---- bad input


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: g.classifier_free(NET, 2.0), ValueError, "needs the unconditional branch"),
        (lambda: g.cfg_pp(NET, 1.0, uncond=None), ValueError, "unconditional branch at every"),
        (lambda: cfg(2.0)(X, 1.0), ValueError, "pass `cond` to `sample`"),
        (lambda: cfg(2.0, net=3), TypeError, "`denoise` must be a denoiser"),
        (lambda: g.autoguidance(NET, None, 2.0), TypeError, "`guide` must be a denoiser"),
        (lambda: cfg("2"), TypeError, "`scale` must hold real numbers"),
        (lambda: cfg(math.nan), ValueError, "`scale` must be finite"),
        (lambda: cfg(np.ones((2, 2))), ValueError, "one number a sample, got shape"),
        (
            lambda: cfg(lambda sigma: 2.0),
            TypeError,
            "one number a sample. For a scale that",
        ),
        (lambda: cfg(np.ones(5))(X, 1.0, LABELS), ValueError, r"shape \(5,\) and `x` holds 6"),
        (lambda: cfg(2.0)(X, 1.0, {"a": LABELS}), ValueError, "structure of `cond`"),
        (lambda: cfg(2.0)(X, 1.0, LABELS[:2]), ValueError, "counts the 6 samples"),
        (lambda: cfg(2.0)(X[0], 1.0, LABELS[0]), ValueError, "run one sample as a batch of one"),
        (lambda: cfg(2.0)(np.ones(()), 1.0, LABELS), ValueError, "Guidance needs the samples on"),
        (lambda: cfg(2.0, uncond=np.ones(4))(X, 1.0, LABELS), ValueError, "or all but the first"),
        (lambda: cfg(2.0, uncond=0.5)(X, 1.0, LABELS), TypeError, "cannot hold the float64"),
        (lambda: cfg(2.0, lambda *_: 1.0)(X, 1.0, LABELS), ValueError, "return the shape of `x`"),
        (lambda: g.interval(NET, 0, 1), TypeError, "takes what `classifier_free`"),
        (lambda: g.rescale(g.clip(cfg(2.0))), TypeError, "apply thresholds after it"),
        (lambda: g.interval(cfg(2.0), 1, 1), ValueError, "must be below `sigma_max`, got 1.0 and"),
        (lambda: g.interval(cfg(2.0), -1, 1), ValueError, "`sigma_min` must be at least 0"),
        (lambda: g.interval(cfg(2.0), 0, math.nan), ValueError, "`sigma_max` must be above 0"),
        (lambda: g.rescale(cfg(2.0), 1.5), ValueError, r"`phi` must be in \[0, 1\], got 1.5"),
        (lambda: g.rescale(cfg(2.0), 0.5, "F"), ValueError, "'x0', 'eps' or 'v', got 'F'"),
        (
            lambda: g.adaptive_projected(g.interval(g.rescale(cfg(2.0)), 0, 1)),
            ValueError,
            "comes before `rescale`",
        ),
        (lambda: g.adaptive_projected(cfg(2.0), math.inf), ValueError, "`eta` must be finite"),
        (lambda: g.adaptive_projected(cfg(2.0), 0, 0), ValueError, "`norm_threshold` must be"),
        (lambda: g.clip(None), TypeError, "`denoise` must be a denoiser"),
        (lambda: g.clip(lambda x, c_noise: x), TypeError, r"takes \(x, c_noise\), as a network"),
        (lambda: g.clip(NET, 1, -1), ValueError, "`low` must be below `high`, got 1.0 and -1.0"),
        (lambda: g.clip(NET, math.nan), ValueError, "`low` must be a number"),
        (lambda: g.clip(NET, "a"), TypeError, "`low` must be a real scalar"),
        (lambda: g.dynamic_threshold(NET, 99.5), ValueError, r"`quantile` must be in \[0, 1\]"),
        (lambda: g.dynamic_threshold(NET, 0.9, 0.0), ValueError, "`max_value` must be above 0"),
        (
            lambda: g.clip(lambda x, s: x)({"x0": X}, 1.0),
            ValueError,
            "rename that entry of `x`",
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, error, sentence, unchecked):
    with pytest.raises(error, match=sentence):
        call()


def test_what_wraps_a_denoiser_declares_its_range():
    class Declares:
        sigma_range = (0.01, 50.0)

        def __call__(self, x, sigma, cond=None):
            return 0.5 * x

    g, denoise = ej.guidance, Declares()
    guided = g.classifier_free(denoise, 2.0, uncond=np.zeros(()))
    plan = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(3))
    wrapped = (
        guided,
        g.autoguidance(denoise, denoise, 2.0),
        g.interval(guided, 0.1, 2.0),
        g.rescale(guided, 0.5),
        g.adaptive_projected(guided),
        g.cfg_pp(denoise, 2.0, uncond=np.zeros(())),
        g.clip(denoise, -1.0, 1.0),
        g.dynamic_threshold(g.clip(guided, -1.0, 1.0)),
    )
    for made in wrapped:
        with pytest.raises(ValueError, match=r"declares `sigma_range` \(0.01, 50\)"):
            ej.sample(made, plan, np.zeros((2, 3), np.float32), cond=np.zeros(2))
    assert g.clip(lambda x, sigma: x, -1.0, 1.0).sigma_range is None


def test_a_largest_threshold_below_1_stretches():
    """diffusers clamps the quantile from 1 to `sample_max_value`, where the upper end wins."""
    x0 = jnp.asarray([[0.3, -0.2, 2.0], [-0.6, 0.1, 0.45]])
    got = jax.jit(g.dynamic_threshold(lambda x, sigma: x0, 0.87, 0.5))(x0, 1.0)
    np.testing.assert_allclose(got["x0"], np.clip(x0, -0.5, 0.5) / 0.5, rtol=1e-6)
