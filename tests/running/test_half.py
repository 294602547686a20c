"""Points of half precision: who is given what, and levels that half precision does not hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import later, mixture, over

import edmjax as ej
from edmjax import denoisers, guidance, processes, samplers as s

HALVES = [jnp.bfloat16, *later(jnp.float16)]
GRID = ej.schedules.karras(5, 0.002, 80.0)
DDPM = processes.ddpm()


def network(x, c, *cond):
    """Any smooth network that computes in the dtype that it is given."""
    assert x.dtype in (jnp.bfloat16, jnp.float16)
    shift = sum(jnp.asarray(v, x.dtype)[:, None] for v in cond)
    return jnp.tanh(1.5 * x - shift + jnp.asarray(0.1 * jnp.tanh(c), x.dtype))


def in_half(dtype):
    """The same network for wide points: it rounds what it is given."""
    return lambda x, c, *cond: network(x.astype(dtype), c, *cond).astype(x.dtype)


MAKERS = {
    "edm": denoisers.edm,
    "vp": denoisers.vp,
    "flow": denoisers.flow,
    "consistency": denoisers.consistency,
    "eps": lambda net: denoisers.eps(net, DDPM),
    "v": lambda net: denoisers.v(net, DDPM),
    "clip": lambda net: guidance.clip(denoisers.edm(net)),
    "cfg": lambda net: guidance.classifier_free(denoisers.edm(net), 2.0, uncond=np.float32(0)),
    "cfg, two calls": lambda net: guidance.rescale(
        guidance.classifier_free(denoisers.edm(net), 2.0, uncond=np.float32(0), one_call=False)
    ),
    "auto": lambda net: guidance.autoguidance(denoisers.edm(net), denoisers.flow(net), 1.5),
    "cfg++": lambda net: guidance.cfg_pp(denoisers.edm(net), 0.6, uncond=np.float32(0)),
    "dynamic": lambda net: guidance.dynamic_threshold(denoisers.edm(net)),
    "of itself": lambda net: denoisers.from_x0(denoisers.edm(net)),
    "there and back": lambda net: denoisers.from_eps(denoisers.to_eps(denoisers.edm(net))),
    "split": lambda net: s.gaussian_split([0.1, -0.2], 0.25)(denoisers.edm(net)),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "name",
    over(
        MAKERS,
        ("edm", "cfg"),
        ("flow", "eps", "clip", "auto", "dynamic", "there and back", "split"),
    ),
)
def test_a_run_of_half_points_is_the_wide_run_around_the_same_network(name, dtype):
    """The points are held wide, so the run is that of wide points, rounded once at the end.

    Both programs round what enters the network, and a rounding of float32 may decide for the other
    neighbour there: single entries move by an ulp of the network's output.
    """
    x = (80 * jax.random.normal(jax.random.key(0), (64, 2))).astype(dtype)
    cond = {"cond": jnp.linspace(-1, 1, 64)} if name.startswith("cfg") else {}
    plan = ej.make_plan(s.heun(), GRID)
    got = ej.sample(MAKERS[name](network), plan, x, **cond)
    want = ej.sample(MAKERS[name](in_half(dtype)), plan, x.astype(jnp.float32), **cond)
    gap = np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64))
    eps = float(jnp.finfo(dtype).eps)
    scale = np.maximum(1.0, np.abs(np.asarray(want, np.float64)))
    assert np.median(gap / scale) <= eps / 2
    assert (gap / scale).max() <= 4 * eps


@pytest.mark.parametrize("dtype", HALVES)
def test_heun_in_few_steps_keeps_the_digits_of_its_network(x64, dtype):
    """The error against float64 is that of the network's output, and not of `c_skip x`.

    The network is exact for N(0, 1/4), where F = 0, but for one rounding of a shift that cancels.
    """
    x = (80 * jax.random.normal(jax.random.key(0), (4096, 1))).astype(dtype)
    plan = ej.make_plan(s.heun(), ej.schedules.karras(4))
    denoise = denoisers.edm(lambda x, c: (x + 1) - 1)
    exact = denoisers.edm(lambda x, c: x)
    got = np.asarray(ej.sample(denoise, plan, x), np.float64)
    want = np.asarray(ej.sample(exact, plan, x.astype(jnp.float64)))
    assert np.sqrt(np.mean((got - want) ** 2)) < 0.02 * want.std()


@pytest.mark.parametrize("dtype", [*HALVES, *later(jnp.float32)])
def test_a_function_of_the_users_own_is_given_its_own_dtype(dtype):
    seen = []

    def denoise(x, sigma):
        seen.append((x.dtype, sigma.dtype))
        return x / (1 + sigma.astype(x.dtype) ** 2)

    x = jnp.ones((3, 2), dtype)
    for around in (denoise, guidance.clip(denoise), denoisers.from_x0(denoise)):
        assert ej.sample(around, ej.make_plan(s.heun(), [2.0, 1.0]), x).dtype == dtype
    assert set(seen) == {(x.dtype, jnp.dtype(jnp.float32))}


# ---- from an infinite first level

STARTS = {
    "flow": (processes.flow(), np.linspace(1, 0, 15)),
    "cosine": (processes.cosine(), np.linspace(1, 0, 15)),
    "zero snr": (processes.ddpm(rescale_zero_snr=True), [999, 800, 600, 400, 200, 100, -1]),
    "squaredcos": (processes.ddpm("squaredcos_cap_v2"), [999, 800, 600, 400, 200, 100, -1]),
}


def velocity(problem, process, x, t):
    """The exact v of a problem, in the scale of a process that preserves variance."""
    alpha, std = process.marginal(t)
    wide = x.astype(jnp.float32)
    alpha = jnp.maximum(alpha, 1e-6)
    x0 = problem.denoise(wide / alpha, std / alpha)
    return ((alpha * wide - x0) / std).astype(x.dtype)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", over(STARTS, ("flow",), STARTS))
def test_half_points_from_pure_noise(name, dtype):
    """Finite, and the float32 run to the rounding of the network."""
    problem, (process, times) = ej.problems.Gaussian([0.3, -0.1], 0.25), STARTS[name]

    def net(x, t):
        return velocity(problem, process, x, t)

    def flow_net(x, t):
        wide = x.astype(jnp.float32)
        var = (1 - t) ** 2 * 0.25 + t**2
        score = (wide - (1 - t) * problem.mean) / var
        return (t * score - (problem.mean + (1 - t) * 0.25 * score)).astype(x.dtype)

    denoise = denoisers.flow(flow_net) if name == "flow" else denoisers.v(net, process)
    x = process.prior_std * jax.random.normal(jax.random.key(0), (2000, 2))
    plan = ej.make_plan(s.euler(), process.levels(np.asarray(times, np.float64)))
    got = ej.sample(denoise, plan, x.astype(dtype)).astype(jnp.float32)
    want = ej.sample(denoise, plan, x)
    assert np.abs(got - want).max() < 24 * jnp.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [jnp.float32, *HALVES])
def test_a_function_of_the_users_own_from_pure_noise(dtype):
    """`x - sigma eps` of a flow, written by hand: at 2^40 it is nothing but rounding."""

    def denoise(x, sigma):
        wide, t = x.astype(jnp.float32), sigma / (1 + sigma)
        var = (1 - t) ** 2 * 0.25 + t**2
        eps = t / var * (wide / (1 + sigma) - (1 - t) * 0.3)
        return (wide - sigma * eps).astype(x.dtype)

    process = processes.flow()
    plan = ej.make_plan(s.euler(), process.levels(np.linspace(1, 0, 29)))
    n = jax.random.normal(jax.random.key(0), (2000, 2)).astype(dtype)
    got = ej.sample(denoise, plan, n).astype(jnp.float32)
    want = ej.sample(ej.problems.Gaussian([0.3, 0.3], 0.25), plan, n.astype(jnp.float32))
    # The points that the function is given are rounded, and its levels are 4,096 times the data.
    bound = 2e-3 if dtype == jnp.float32 else 0.1
    assert np.sqrt(np.mean((got - want) ** 2)) < bound


@pytest.mark.parametrize("process", [processes.flow(), *later(processes.cosine())])
def test_guidance_by_a_gradient_from_pure_noise(process):
    """Guidance that multiplies a Jacobian by sigma^2 is in float32 what it is in float64.

    The data are N(0, C), with entries 0 and 1 known; Pi-GDM (Song et al. 2023) with their r.
    """
    size = 6
    cov = np.exp(-np.abs(np.subtract.outer(range(size), range(size))) / 3.0)
    known = np.arange(size) < 2
    given = np.array([0.5, 0.4, 0, 0, 0, 0])

    values, vectors = np.linalg.eigh(cov)

    def run(dtype):
        y, c, v = (jnp.asarray(array, dtype) for array in (given, values, vectors))

        def net(x, t):
            a, s = process.marginal(t)
            return x @ v * (a * c / (a**2 * c + s**2)) @ v.T

        inside = denoisers.x0(net, process)

        def guided(x, sigma):
            x0, pull = jax.vjp(lambda x: inside(x, sigma), x)
            return x0 + (1 + sigma**2) * pull(jnp.where(known, y - x0, 0).astype(dtype))[0]

        n = jax.random.normal(jax.random.key(0), (500, size), jnp.float32).astype(dtype)
        plan = ej.make_plan(s.euler(), process.levels(np.linspace(1, 0, 11)))
        return np.asarray(ej.sample(guided, plan, process.prior_std * n))

    got = run(jnp.float32)
    with jax.enable_x64(True):
        want = run(jnp.float64)
    assert np.sqrt(np.mean((got - want) ** 2)) < 2e-3


def test_levels_that_float16_does_not_hold():
    x = jnp.ones((4, 2), jnp.float16)
    plan = ej.make_plan(s.euler(), [20291.0, 1.0, 0.0])
    for denoise in (mixture(), lambda x, sigma: x / 2):
        with pytest.raises(ValueError, match="sigma = 20291 overflows points of float16"):
            ej.sample(denoise, plan, x)
        with pytest.raises(ValueError, match="overflows points of float16"):
            ej.sweep(denoise, [plan], x)
        ej.sample(denoise, plan, x.astype(jnp.bfloat16))
    levels = processes.ddpm("squaredcos_cap_v2").levels([999, 500, -1])
    scaled = ej.make_plan(s.euler(), levels)
    assert np.isfinite(ej.sample(mixture(), scaled, x)).all()
    with pytest.raises(ValueError, match="overflows points of float16"):
        ej.sample(lambda x, sigma: x / 2, scaled, x)
