"""`ej.sweep`: plans of any length, width and kind in one program, each as `sample` runs it."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from support.helpers import ALL, compilations, final, later, mixture

import edmjax as ej
from edmjax import samplers as s
from edmjax.schedules import karras

KEY = jax.random.key(7)


def noise_of(shape, dtype=jnp.float32):
    return 80 * jax.random.normal(jax.random.key(0), shape, dtype)


def mixed():
    """Every kind: one step, inner rows, history, long windows, noise in one slot and in two."""
    return {
        "euler": ej.make_plan(s.euler(), karras(1)),
        "heun": ej.make_plan(s.heun(), karras(9)),
        "dpmpp_2m": ej.make_plan(s.dpmpp_2m(), karras(14)),
        "pndm": ej.make_plan(s.pndm(), karras(7)),
        "churn": ej.make_plan(s.churn(s.heun(), 8.0, 0.05, 50.0), karras(6)),
        "dpmpp_sde": ej.make_plan(s.dpmpp_sde(), karras(4)),
        "above zero": ej.make_plan(s.ddpm(), karras(12)[:-1]),
    }


def close(got, expected, tolerance):
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        one, other = np.asarray(one, float), np.asarray(other, float)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


# ---- the same samples


@pytest.mark.slow
def test_each_sample_is_that_of_sample():
    """In float32 the two programs may round a sum otherwise, which the mixture magnifies."""
    plans, x = mixed(), noise_of((33, 2))
    got = ej.sweep(mixture(), plans, x, KEY)
    assert list(got) == list(plans)
    for name, plan in plans.items():
        close(got[name], ej.sample(mixture(), plan, x, KEY), 1e-5)


@pytest.mark.parametrize(
    "compared",
    [{"dpmpp_2m", "dpmpp_sde", "above zero"}, *later(set(mixed()), mark=pytest.mark.slow)],
    ids=["few", "all"],
)
def test_in_float64(x64, compared):
    plans, x = mixed(), noise_of((5, 2), jnp.float64)
    got = ej.sweep(mixture(), plans, x, KEY)
    assert list(got) == list(plans)
    for name in compared:
        close(got[name], ej.sample(mixture(), plans[name], x, KEY), 1e-12)


@pytest.mark.slow
def test_every_sampler_at_several_lengths(x64):
    rng = np.random.default_rng(0)
    plans = {
        (name, n): ej.make_plan(make(), karras(n))
        for name, (make, _) in ALL.items()
        for n in rng.integers(1, 40, 2).tolist()
    }
    x = noise_of((5, 2), jnp.float64)
    with compilations() as count:
        got = final(ej.sweep(mixture(), plans, x, KEY))
    assert len(count) == 1
    for name, plan in plans.items():
        # Two divisions by 0.002 magnify a rounding at the start of 80 ulps.
        close(got[name], ej.sample(mixture(), plan, x, KEY), 1e-11)


def in_each_point(x, at):
    """The denoiser is shown the draws themselves, one after another."""
    at.denoise(x, at.sigma)
    return at.noise()


@pytest.mark.parametrize("shape", [*later((5, 3)), (2, 3, 3, 1)])
def test_noise_is_the_same_to_the_bit(shape):
    shown = []

    def denoise(x, sigma):
        jax.debug.callback(lambda x: shown.append(np.asarray(x)), x, ordered=True)
        return x

    plans = [ej.make_plan(in_each_point, karras(n)) for n in (3, 8)]
    x = noise_of(shape)
    last = final(ej.sweep(denoise, plans, x, KEY))
    jax.effects_barrier()
    for plan, x0 in zip(plans, last, strict=True):
        points, shown = [*shown[1 : plan.nfe], x0], shown[plan.nfe :]
        np.testing.assert_array_equal(points, ej.draw_noise(plan, KEY, x))


@pytest.mark.slow
def test_given_draws_are_taken_in_order():
    plans, x = mixed(), noise_of((5, 2))
    most = max(plans.values(), key=lambda plan: plan.num_draws)
    noise = ej.draw_noise(most, KEY, x)
    by_key, by_noise = (
        ej.sweep(mixture(), plans, x, key, noise=given)
        for key, given in ((KEY, None), (None, noise))
    )
    for one, other in zip(by_key.values(), by_noise.values(), strict=True):
        np.testing.assert_array_equal(one, other)


# ---- one program


def fifty():
    rng = np.random.default_rng(1)
    makes = [s.euler, s.heun, s.dpmpp_2m, s.lms, s.unipc, s.ddpm, s.dpmpp_sde, s.pndm, s.dpm_2]
    return [
        ej.make_plan(makes[i % len(makes)](), karras(int(n), rho=rng.uniform(3, 9)))
        for i, n in enumerate(rng.integers(1, 40, 50))
    ]


def net(params, x, sigma):
    return jnp.tanh(x @ params)


def test_fifty_plans_take_one_compilation_and_the_next_fifty_none():
    x, plans, key = noise_of((4, 6)), fifty(), jax.random.key(8)
    one, another = (Partial(net, jnp.eye(6) / n) for n in (3, 4))
    with compilations() as count:
        final(ej.sweep(one, plans, x, KEY))
        assert len(count) == 1, count
        others = [ej.make_plan(s.pndm(), karras(17)), *plans[3:40:3]]
        final(ej.sweep(another, others, x, key))
    assert len(count) == 1, count


def test_the_network_is_called_once_an_evaluation():
    plans, x, levels = fifty()[:9], noise_of((3, 2)), []

    def denoise(x, sigma):
        jax.debug.callback(lambda sigma: levels.append(float(sigma)), sigma, ordered=True)
        return 0.5 * x

    with compilations() as count:
        final(ej.sweep(denoise, plans, x, KEY))
    jax.effects_barrier()
    assert len(levels) == sum(plan.nfe for plan in plans)
    np.testing.assert_allclose(levels, np.concatenate([p.sigmas for p in plans]), rtol=1e-6)
    assert len(count) == 1


def test_a_function_is_traced_at_each_call_as_what_it_closes_over_may_change():
    factor, plan, x = [0.5], ej.make_plan(s.euler(), karras(1)), noise_of((3, 2))

    def denoise(x, sigma):
        return factor[0] * x

    first = ej.sweep(denoise, [plan], x)[0]
    factor[0] = 0.25
    np.testing.assert_array_equal(ej.sweep(denoise, [plan], x)[0], first / 2)


def test_no_draw_is_made_where_a_plan_makes_none():
    """Both kinds of noise, so that the loop has room: what it would draw costs more than Euler."""
    plans = [ej.make_plan(s.euler(), karras(5)), ej.make_plan(s.dpmpp_sde(), karras(5))]
    x = noise_of((2, 4))
    text = jax.jit(lambda x: ej.sweep(lambda x, sigma: 0.9 * x, plans, x, KEY)).lower(x).as_text()
    body = text[text.index("stablehlo.while") :]
    assert "stablehlo.case" in body


def test_under_jit_the_program_holds_one_network():
    plans = [ej.make_plan(s.heun(), karras(4)), ej.make_plan(s.ddpm(), karras(11))]
    params, x = Partial(net, 0.3 * jnp.eye(4)), noise_of((2, 4))
    run = jax.jit(lambda *arguments: ej.sweep(*arguments))
    assert run.lower(params, plans, x, KEY).as_text().count("stablehlo.tanh") == 1
    close(run(params, plans, x, KEY), ej.sweep(params, plans, x, KEY), 1e-6)


@pytest.mark.slow
def test_a_forward_derivative(x64):
    plans, x = [ej.make_plan(s.heun(), karras(3))], noise_of((2, 2), jnp.float64)
    slopes = [
        jax.jvp(run, (x,), (jnp.ones_like(x),))[1]
        for run in (
            lambda x: ej.sweep(mixture(), plans, x)[0],
            lambda x: ej.sample(mixture(), plans[0], x),
        )
    ]
    close(*slopes, 1e-12)


# ---- what a point and a plan may be


@pytest.mark.slow
def test_condition_and_any_tree():
    x = {"a": noise_of((3, 2)), "b": (noise_of((3, 4, 2), jnp.bfloat16),)}
    cond = jnp.array([0.1, 0.5, 0.9])

    def denoise(x, sigma, cond):
        return jax.tree.map(
            lambda v: (v * cond.reshape(-1, *[1] * (v.ndim - 1))).astype(v.dtype), x
        )

    plans = (ej.make_plan(s.dpmpp_2m(), karras(5)), ej.make_plan(s.ddpm(), karras(3)))
    got = ej.sweep(denoise, plans, x, KEY, cond=cond)
    assert isinstance(got, tuple)
    for x0, plan in zip(got, plans, strict=True):
        assert jax.tree.structure(x0) == jax.tree.structure(x)
        # bfloat16 has 8 bits, and is rounded to once at the end.
        close(x0["a"], ej.sample(denoise, plan, x, KEY, cond=cond)["a"], 1e-6)
        close(x0["b"], ej.sample(denoise, plan, x, KEY, cond=cond)["b"], 2**-7)


def test_one_sample_without_an_axis():
    x, plans = noise_of((2,)), [ej.make_plan(s.ddpm(), karras(3))]

    def denoise(x, sigma):
        return 0.5 * x

    got = ej.sweep(denoise, plans, x, KEY, batched=False)[0]
    close(got, ej.sample(denoise, plans[0], x, KEY, batched=False), 1e-6)
    with pytest.raises(ValueError, match="Axis 0 of every leaf of `x` counts samples"):
        ej.sweep(denoise, plans, {"a": x, "b": noise_of((3,))}, KEY)


def with_raw(x, at):
    denoised, raw = at.denoise(x, at.sigma, raw=True)
    r = at.sigma_next / at.sigma
    return denoised + r * (x - raw)


def with_log_var(x, at):
    denoised = at.denoise(x, at.sigma)
    r = at.sigma_next / at.sigma
    return r * x + (1 - r) * denoised + at.sigma_next * at.noise(log_var=0.5)


@pytest.mark.parametrize("compared", [[1, 2], *later([0, 3, 4])], ids=["raw, learned", "others"])
def test_raw_outputs_scales_and_learned_variances(x64, compared):
    vp = ej.processes.vp()
    plans = [
        ej.make_plan(s.euler(), vp.levels(np.linspace(1, 0.01, 5))),
        ej.make_plan(with_raw, karras(4)),
        ej.make_plan(with_log_var, karras(7)),
        ej.make_plan(s.dpmpp_2m(), karras(3)),
        ej.make_plan(s.dpmpp_sde(), karras(3)),
    ]

    def denoise(x, sigma):
        return {"x0": x / (1 + sigma**2), "raw": jnp.tanh(x), "log_var": jnp.sin(x)}

    x = noise_of((3, 2), jnp.float64)
    got = ej.sweep(denoise, plans, x, KEY)
    for i in compared:
        close(got[i], ej.sample(denoise, plans[i], x, KEY), 1e-12)
    with pytest.raises(ValueError, match="a dict of 'x0' and 'log_var'"):
        ej.sweep(lambda x, sigma: x, plans, x, KEY)


def test_nothing_to_sweep():
    x = noise_of((2, 2))
    assert ej.sweep(mixture(), [], x) == [] and ej.sweep(mixture(), {}, x) == {}
    plan = ej.make_plan(s.euler(), karras(2))
    close(ej.sweep(mixture(), plan, x), ej.sample(mixture(), plan, x), 1e-6)


def test_dicts_keep_their_order_and_names_need_not_compare():
    x, plan = noise_of((2, 2)), ej.make_plan(s.euler(), karras(2))
    other = ej.make_plan(s.heun(), karras(2))
    pair = collections.namedtuple("pair", "one two")
    got = ej.sweep(mixture(), {1: plan, "b": {"z": other, "a": (plan, pair(other, plan))}}, x)
    assert list(got) == [1, "b"] and list(got["b"]) == ["z", "a"]
    nested, last = got["b"]["a"]
    assert type(got["b"]["a"]) is tuple and type(last) is pair
    for x0, made in (
        (got[1], plan),
        (got["b"]["z"], other),
        (nested, plan),
        (last.one, other),
        (last.two, plan),
    ):
        close(x0, ej.sample(mixture(), made, x), 1e-6)


# ---- mistakes


EULER = ej.make_plan(s.euler(), karras(3))
DDPM = ej.make_plan(s.ddpm(), karras(3))


@pytest.mark.parametrize(
    "arguments, options, words",
    [
        ((0.5, [EULER], 1.0), {}, "`denoise` must be a function"),
        ((None, [EULER, s.euler()], 1.0), {}, r"`plans\[1\]` must be a Plan"),
        ((None, [None], 1.0), {}, r"`plans\[0\]` must be a Plan"),
        ((None, iter([EULER]), 1.0), {}, "must be a Plan"),
        (
            (None, [jax.tree.map(lambda *v: np.stack(v), EULER, EULER)], 1.0),
            {},
            "is a stack of plans",
        ),
        ((None, [EULER, DDPM], 1.0), {}, r"plans\[1\] draws noise: pass `key` or `noise` to `sw"),
        ((None, [EULER, DDPM], 1.0, 3), {}, "`key` must be a typed key"),
        ((None, [DDPM], 1.0), {"noise": np.zeros((1, 4, 2), np.float32)}, r"= \(2, 4, 2\), got"),
        ((None, [EULER], 1.0), {"cond": np.zeros(3)}, "`cond` counts the 4 samples"),
    ],
)
def test_mistakes_get_a_sentence(arguments, options, words):
    denoise, plans, scale, *rest = arguments
    with pytest.raises((TypeError, ValueError), match=words):
        x = scale * noise_of((4, 2))
        ej.sweep(mixture() if denoise is None else denoise, plans, x, *rest, **options)


def test_a_plan_refuses_a_denoiser_of_another_range():
    def denoise(x, sigma):
        return x

    denoise.sigma_range = (0.01, 50.0)
    with pytest.raises(ValueError, match=r"the denoiser declares `sigma_range` \(0.01, 50\)"):
        ej.sweep(denoise, [EULER], noise_of((2, 2)))
