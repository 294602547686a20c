"""Averages of the parameters: against their definition as sums, and profiles known exactly."""

import functools
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from edmjax import losses, nn, training
from edmjax.training import ema
from edmjax.training.checkpoints import load_weights, save_weights

ROOT = pathlib.Path(__file__).parents[2]


def share(function, t):
    return float(function(jnp.int32(t)))


def weights_of_steps(step, sigma_rel, length):
    """What each of the steps 1 ... length weighs in an average after `step` steps, in float64.

    The product form of `average(t) = beta(t) average(t - 1) + (1 - beta(t)) params(t)` with
    `beta(t) = (1 - 1/t)^(gamma + 1)`, written out: O(n^2) multiplications.
    """
    gamma = ema.gamma_from_sigma_rel(sigma_rel)
    beta = [(1 - 1 / t) ** (gamma + 1) for t in range(1, step + 1)]
    weights = [(1 - beta[t]) * np.prod(beta[t + 1 :]) for t in range(step)]
    return np.array(weights + [0.0] * (length - step))


legendre = functools.cache(np.polynomial.legendre.leggauss)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 6.94, 16.97, 500.0])
def test_gamma_is_that_of_the_width(gamma):
    """The width from the moments of `t^gamma` on [0, 1], by quadrature."""
    # With t = s^4 the integrand is smooth at 0 too.
    s, weights = legendre(300)
    s, weights = (s + 1) / 2, weights / 2
    t, density = s**4, weights * 4 * s**3 * s ** (4 * gamma)
    mean = density @ t / density.sum()
    sigma_rel = np.sqrt(density @ (t - mean) ** 2 / density.sum())
    assert ema.gamma_from_sigma_rel(sigma_rel) == pytest.approx(gamma, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.29, float("nan")])
def test_impossible_widths_are_a_sentence(sigma_rel):
    with pytest.raises(ValueError, match=r"above 0 and at most 0\.2887.*got"):
        ema.power_function(sigma_rel)


def test_shares_are_those_of_the_definition_also_late_in_a_run():
    for sigma_rel in (0.05, 0.15, 12**-0.5):
        exponent = ema.gamma_from_sigma_rel(sigma_rel) + 1
        function = ema.power_function(sigma_rel)
        assert share(function, 1) == 1
        for t in (2, 10, 12345):
            assert share(function, t) == pytest.approx(1 - (1 - 1 / t) ** exponent, rel=1e-5)
        # At 10^8 the plain form has no digit left in float32; the series has.
        assert share(function, 10**8) == pytest.approx(exponent * 1e-8, rel=1e-5)
    assert share(ema.power_function(12**-0.5), 7) == pytest.approx(1 / 7, rel=1e-5)  # the mean


def test_exponential_shares():
    assert [share(ema.exponential(0.0), t) for t in (1, 2, 1000)] == [1, 1, 1]
    function = ema.exponential(0.999)
    assert share(function, 1) == pytest.approx(0.9)
    assert share(function, 10**5) == pytest.approx(0.001, rel=1e-4)
    with pytest.raises(ValueError, match=r"ema_decay` must be in \[0, 1\), got 1"):
        ema.exponential(1.0)


def descend(averages, steps):
    """The parameters after each step, and the last averages, of `make_train_steps` itself."""

    def loss(net, params, x0, key, cond):
        each = jnp.square(params["p"] - x0)
        return losses.PerSample(each, each, each)

    graphdef = nn.functional(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))[0].graphdef  # never called
    net, optimizer = nn.Functional(graphdef, {}), optax.sgd(0.2)
    advance = training.make_train_steps(
        net, training.make_batch_loss(loss, lambda x: x), optimizer, averages
    )
    state = training.init_state(
        net, {"p": jnp.array(5.0)}, optimizer, jax.random.key(0), num_averages=len(averages)
    )
    examples = training.Examples(jax.random.normal(jax.random.key(1), (steps,)))
    path = []
    for i in range(steps):
        state, _ = advance(state, examples, jnp.array([[i]]))
        path.append(float(state.params["p"]))
    return np.array(path), [float(average["p"]) for average in state.ema]


def test_averages_of_a_run_are_the_weighted_sums_of_its_parameters():
    widths = (0.05, 0.1, 0.25, 12**-0.5)
    averages = [ema.exponential(0.0), ema.exponential(0.9), *map(ema.power_function, widths)]
    path, (none, decayed, *powers) = descend(averages, 30)
    assert none == path[-1]
    by_hand = 5.0
    for t, value in enumerate(path, start=1):
        decay = min(0.9, t / (9 + t))
        by_hand = decay * by_hand + (1 - decay) * value
    assert decayed == pytest.approx(by_hand, rel=1e-5)
    for sigma_rel, average in zip(widths, powers, strict=True):
        expected = weights_of_steps(30, sigma_rel, 30) @ path
        assert average == pytest.approx(expected, rel=1e-5)
        # The telescoped product: the share of [t - 1, t] in the integral of the profile.
        t = np.arange(31) / 30
        profile = np.diff(t ** (ema.gamma_from_sigma_rel(sigma_rel) + 1))
        np.testing.assert_allclose(weights_of_steps(30, sigma_rel, 30), profile, atol=1e-14)
    assert powers[-1] == pytest.approx(path.mean(), rel=1e-5)


@pytest.mark.parametrize("length, every", [(2000, 100), (400, 80)])
def test_reconstruction_is_the_nearest_profile(length, every):
    """Against dense least squares over the integrals of the profiles between steps."""
    kept = [(step, width) for step in range(every, length + 1, every) for width in (0.05, 0.1)]
    t = np.arange(length + 1)

    def profile(step, sigma_rel):
        exponent = ema.gamma_from_sigma_rel(sigma_rel) + 1
        return np.diff(np.minimum(t / step, 1) ** exponent)

    kept_profiles = np.stack([profile(*one) for one in kept], axis=1)
    for sigma_rel in (0.03, 0.05, 0.075, 0.15, 0.2):
        wanted = profile(length, sigma_rel)
        best = kept_profiles @ np.linalg.lstsq(kept_profiles, wanted, rcond=None)[0]
        least = np.linalg.norm(best - wanted) / np.linalg.norm(wanted)
        coefficients, error = ema.posthoc_coefficients(kept, (length, sigma_rel))
        got = np.linalg.norm(kept_profiles @ coefficients - wanted) / np.linalg.norm(wanted)
        assert got == pytest.approx(least, rel=0.01, abs=1e-12)
        assert error == pytest.approx(least, rel=0.01, abs=1e-7)
        if sigma_rel == 0.05:
            alone = [float(one == (length, 0.05)) for one in kept]
            np.testing.assert_allclose(coefficients, alone, atol=1e-9)


def test_one_snapshot_gives_the_projection_by_hand():
    """Profiles `2 t` (gamma 1) and `1` (gamma 0) on [0, 1]: `<2t, 1> / <2t, 2t> = 3 / 4`."""
    linear = np.sqrt(2 / 9 / 4)  # gamma 1: (1 + 1) / ((1 + 2)^2 (1 + 3))
    coefficients, error = ema.posthoc_coefficients([(1000, linear)], (1000, 12**-0.5))
    np.testing.assert_allclose(coefficients, [0.75], rtol=1e-7)
    assert error == pytest.approx(0.5)  # sqrt(1 - 3/4)
    # Half as long: 2t / (1/2)^2 on [0, 1/2]; the products are 1 and (4 / 3) * 2.
    coefficients, error = ema.posthoc_coefficients([(500, linear)], (1000, 12**-0.5))
    np.testing.assert_allclose(coefficients, [3 / 8], rtol=1e-7)
    assert error == pytest.approx(np.sqrt(1 - 3 / 8))


CONFIG = {
    "data": "digits",
    "seed": 0,
    "net": {},
    "loss": {},
    "optim": {"ema_sigma_rel": [0.05, 0.1]},
    "image_shape": [8, 8, 1],
}


@pytest.fixture
def snapshots(tmp_path):
    """Exact averages of a path of 2,000 steps every 100, as a run writes them; and the path."""
    t = np.arange(1, 2001) / 2000
    path = np.stack([3 + np.exp(-4 * t), np.sin(9 * t), np.ones_like(t)], axis=1)
    for step in range(100, 2001, 100):
        averages = [
            {"p": jnp.asarray(np.diff(np.minimum(np.arange(2001) / step, 1) ** exponent) @ path)}
            for exponent in (ema.gamma_from_sigma_rel(width) + 1 for width in (0.05, 0.1))
        ]
        training.save_snapshots(tmp_path, step, averages, {"b": jnp.array([7.0, 8.0])}, CONFIG)
    return tmp_path, path


def test_an_average_of_another_width_is_made_from_snapshots(snapshots):
    directory, path = snapshots
    for sigma_rel in (0.04, 0.07, 0.1, 0.15):
        arrays, config, error = training.reconstruct_ema(directory, sigma_rel)
        exponent = ema.gamma_from_sigma_rel(sigma_rel) + 1
        expected = np.diff((np.arange(2001) / 2000) ** exponent) @ path
        np.testing.assert_allclose(arrays["p"], expected, atol=2e-3 if sigma_rel != 0.1 else 1e-6)
        assert arrays["p"].dtype == jnp.float32 and abs(arrays["p"][2] - 1) < 1e-6
        np.testing.assert_array_equal(arrays["b"], [7, 8])
        assert error < (0.01 if sigma_rel != 0.1 else 1e-7)
        assert config["snapshot"]["sigma_rel"] == sigma_rel and config["snapshot"]["step"] == 2000
    assert not list(directory.rglob("*.tmp"))


def test_reconstruction_mistakes_are_sentences(snapshots, tmp_path):
    directory, _ = snapshots
    with pytest.raises(FileNotFoundError, match=r"no snapshots in .*train with optim\.ema_sigma"):
        training.reconstruct_ema(tmp_path / "nothing", 0.1)
    with pytest.raises(ValueError, match=r"at most 0\.2887"):
        training.reconstruct_ema(directory, 0.5)
    path = directory / "snapshots" / "000000100-0.05.safetensors"
    arrays, config = load_weights(path)
    save_weights(path, arrays, {**config, "seed": 1})
    with pytest.raises(ValueError, match=r"another run.*seed is 0 there and 1 here"):
        training.reconstruct_ema(directory, 0.1)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"000000100-0\.05\.safetensors is damaged"):
        training.reconstruct_ema(directory, 0.1)


@pytest.mark.slow
def test_a_run_keeps_snapshots_that_reconstruct_what_another_run_kept(tmp_path, capsys):
    """The same training, once with the widths 0.05 and 0.1, and once with 0.15."""

    def run(name, widths):
        config = training.Config(
            out=str(tmp_path / name),
            net=training.NetConfig(channels=[4], embed_dim=8),
            optim=training.OptimConfig(steps=48, batch_size=4, ema_sigma_rel=widths),
            checkpoint_every=4,
            scan_steps=4,
        )
        training.train(config, training.load_dataset("digits"), progress=False)
        return load_weights(config.out)[0]

    narrow, wide = run("narrow", [0.05, 0.1]), run("wide", [0.15])
    spec = importlib.util.spec_from_file_location("script", ROOT / "benchmarks/reconstruct_ema.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    out = tmp_path / "made" / "w.safetensors"
    script.main(["--run", str(tmp_path / "narrow"), "--sigma-rel", "0.15", "--out", str(out)])
    assert "error of the profile" in capsys.readouterr().out
    made, _ = load_weights(out)
    assert made.keys() == wide.keys()
    apart = lambda a, b: np.sqrt(sum(np.sum((a[n] - b[n]) ** 2) for n in a))  # noqa: E731
    assert apart(made, wide) < 0.03 * apart(narrow, wide)
    assert training.load_denoiser(out)[1] == (8, 8, 1)


def test_an_empty_list_of_widths_is_a_sentence():
    with pytest.raises(ValueError, match=r"`optim\.ema_sigma_rel` is empty"):
        training.OptimConfig(ema_sigma_rel=[])
