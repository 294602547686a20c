"""Each objective that a configuration names, against closed forms on Gaussian data.

`FRAMES` writes each one out from its paper: the factors `(alpha, std)` of data and noise in what
the network is shown, and `(a, b)` in what it is to return, `a x0 + b n`.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support.helpers import later
from support.runs import config as config_of_run

import edmjax as ej
from edmjax import training
from edmjax.training import LossConfig, build
from edmjax.training.config import identity
from edmjax.training.samples import plan_of

MU, S, ENTRIES = 0.4, 0.7, 3  # of the data
KEY, X0 = jax.random.key(0), np.zeros((4, 2), np.float32)
BETAS = np.linspace(1e-4, 0.02, 1000)
TABLE = np.sqrt(1 / np.cumprod(1 - BETAS) - 1)  # the level of each timestep


def edm(xp, c):
    """Karras et al. (2022), equation 8 and table 1; sigma_data 0.5."""
    sigma = xp.exp(4 * c)
    total = xp.sqrt(sigma**2 + 0.25)
    return sigma, 1 / total, sigma / total, 2 * sigma / total, -0.5 / total


def dsm(xp, c):
    sigma = xp.sqrt(xp.expm1(2 * np.log(25) * c) / (2 * np.log(25)))
    return sigma, 0 * c + 1, sigma, 0 * c, 0 * c - 1


def flow(xp, c):
    return c / (1 - c), 1 - c, c, 0 * c - 1, 0 * c + 1


def of_process(sigma_of, predict):
    def frame(xp, c):
        sigma = sigma_of(xp, c)
        alpha, std = 1 / xp.sqrt(1 + sigma**2), sigma / xp.sqrt(1 + sigma**2)
        a, b = {"eps": (0 * c, 0 * c + 1), "v": (-std, alpha), "x0": (0 * c + 1, 0 * c)}[predict]
        return sigma, alpha, std, a, b

    return frame


def vp_sigma(xp, t):  # Song et al. (2021), equation 33
    return xp.sqrt(xp.expm1(0.1 * t + 19.9 * t**2 / 2))


def cosine_sigma(xp, t):
    return xp.tan(np.pi * t / 2)


def ddpm_sigma(xp, t):
    return xp.exp(xp.interp(t, np.arange(1000.0), np.log(TABLE)))


def frame_of(config):
    sigma_of = {"vp": vp_sigma, "cosine": cosine_sigma, "ddpm": ddpm_sigma}
    if config.name not in sigma_of:
        return {"edm": edm, "dsm": dsm, "flow": flow}[config.name]
    usual = {"vp": "eps", "cosine": "v", "ddpm": "eps"}
    return of_process(sigma_of[config.name], config.predict or usual[config.name])


def grid_of(config):
    """Equally likely values of `c_noise`."""
    u = (np.arange(100_000) + 0.5) / 100_000
    if config.name == "edm":
        return (-1.2 + 1.2 * stats.norm.ppf(u)) / 4
    if config.name == "ddpm":
        return np.arange(1000.0)
    if config.time == "logit_normal":
        return 1 / (1 + np.exp(-stats.norm.ppf(u)))
    return {"cosine": 0.001 + 0.998 * u, "flow": u}.get(config.name, 1e-5 + (1 - 1e-5) * u)


def weight_by_hand(config, sigma, std):
    """Of the squared error of the network, from the papers' weights for x0 and eps."""
    snr = sigma**-2.0
    if config.weighting is None:
        return 1.0
    predict = {"vp": "eps", "cosine": "v", "ddpm": "eps", "dsm": "eps"}.get(config.name)
    predict = config.predict or predict
    # The squared error of x0 over that of the output.
    if predict:
        of_x0 = {"eps": 1 / snr, "v": 1 / (1 + snr), "x0": 1.0}[predict]
    elif config.name == "flow":
        of_x0 = std**2  # x0 = x_t - t v
    else:
        of_x0 = 0.25 * sigma**2 / (sigma**2 + 0.25)  # c_out^2
    if config.weighting == "min_snr":
        return np.minimum(snr, 5.0) * of_x0  # Hang et al.: the weight of x0
    return snr / (1 + snr) * of_x0  # Choi et al.: 1 / (1 + SNR) for eps


def exact_network(config):
    """The line through the moments of Gaussian data: the best network there is."""
    frame = frame_of(config)

    def net(params, x, c):
        found = frame(jnp, jnp.asarray(c))
        _, alpha, std, a, b = (v[..., None] if v.ndim else v for v in found)
        slope = (a * alpha * S**2 + b * std) / (alpha**2 * S**2 + std**2)
        return slope * (x - alpha * MU) + a * MU

    return net


def expected_loss(config, slope=None, height=0.0):
    """The mean loss of `F = slope x + height`; without a slope, of the best network."""
    sigma, alpha, std, a, b = frame_of(config)(np, grid_of(config))
    if slope is None:
        slope = (a * alpha * S**2 + b * std) / (alpha**2 * S**2 + std**2)
        height = (a - slope * alpha) * MU
    mean = (slope * alpha - a) * MU + height
    square = mean**2 + (slope * alpha - a) ** 2 * S**2 + (slope * std - b) ** 2
    return ENTRIES * np.mean(weight_by_hand(config, sigma, std) * square)


CONFIGS = {
    "edm": dict(weighting="min_snr"),
    "dsm": dict(weighting="p2"),
    "vp": {},
    "cosine": dict(weighting="min_snr"),
    "ddpm": dict(predict="x0"),
    "flow": dict(time="logit_normal", weighting="p2"),
}
QUICK = [LossConfig(name, **options) for name, options in CONFIGS.items()]
MORE = [  # all that is predicted, and each weighting with several of them
    LossConfig("edm", weighting="p2"),
    LossConfig("dsm", weighting="min_snr", stratified=True),
    LossConfig("vp", predict="v", weighting="p2"),
    LossConfig("vp", predict="x0", stratified=True),
    LossConfig("cosine", predict="eps", weighting="p2"),
    LossConfig("cosine", predict="x0", weighting="min_snr"),
    LossConfig("ddpm", predict="v", weighting="min_snr", stratified=True),
    LossConfig("ddpm", weighting="min_snr"),
    LossConfig("flow", weighting="min_snr"),
    LossConfig("flow", time="logit_normal", stratified=True),
]


def name_of(config):
    told = config.name, config.predict, config.weighting, config.time, config.stratified or None
    return "-".join(str(one) for one in told if one is not None)


@pytest.mark.parametrize("config", [*QUICK[4:], *later(*QUICK[:4], *MORE)], ids=name_of)
def test_the_loss_of_a_line_and_of_the_best_network_on_a_gaussian(config):
    """Means over 40,000 samples, with z-scores below 4."""
    loss, best = training.build_loss(config), exact_network(config)

    @jax.jit
    def both(key):
        key_data, key_loss = jax.random.split(key)
        x0 = MU + S * jax.random.normal(key_data, (40_000, ENTRIES))
        line = lambda params, x, c: 0.4 * x + 0.1  # noqa: E731
        return loss(line, None, x0, key_loss), loss(best, None, x0, key_loss)

    for each, expected in zip(
        both(KEY), (expected_loss(config, 0.4, 0.1), expected_loss(config)), strict=True
    ):
        error = np.std(np.asarray(each.loss, float)) / np.sqrt(40_000)
        assert abs(np.mean(np.asarray(each.loss, float)) - expected) < 4 * error


@pytest.mark.parametrize("config", [QUICK[-1], *later(*QUICK[:-1])], ids=name_of)
def test_samples_of_the_best_network_have_the_mean_and_the_deviation_of_the_data(config):
    """By the plan that `sample` takes for data of one's own; within 3 standard errors.

    Of 18 steps of Heun's method on Karras' levels any Gaussian is 5 % too wide.
    """
    denoise = training.build_denoiser(config, jax.tree_util.Partial(exact_network(config), None))
    low, high = training.trained_range(config)
    low, high = max(low, 0.002), min(high, 80.0)
    plan = plan_of(training.SampleConfig(), training.NoiseLevels(low, high, S, S))
    assert plan.nfe == 35
    x = high * jax.random.normal(KEY, (2000, ENTRIES))

    @jax.jit
    def made(x):
        sigmas = jnp.asarray([low, 0.3, 2.0, 0.9 * high])
        return ej.sample(denoise, plan, x), [denoise(x[:4], sigma) for sigma in sigmas], sigmas

    samples, denoised, sigmas = made(x)
    for sigma, found in zip(sigmas, denoised, strict=True):
        exact = MU + S**2 / (S**2 + sigma**2) * (x[:4] - MU)
        np.testing.assert_allclose(found, exact, atol=2e-4 * (1 + 0.02 * float(sigma)))
    # Noise without the data's mean and deviation is where `sample` starts, and what that leaves: it
    # is 7 % of the mean after `dsm`, whose highest level is 9.8.
    left = S / np.hypot(high, S)
    assert abs(samples.mean() - MU * (1 - left)) < 3 * S / np.sqrt(samples.size)
    assert abs(samples.std() - S * high / np.hypot(high, S)) < 3 * S / np.sqrt(2 * samples.size)


# ---- what a configuration says


ABOUT = {**identity(config_of_run("a")), "image_shape": [8, 8, 1]}


@pytest.mark.parametrize("name, low, high", [
    ("edm", 0.002, 80.0), ("flow", 0.002, 80.0), ("cosine", 0.002, 80.0), ("vp", 0.002, 80.0),
    ("ddpm", 0.01, 80.0), ("dsm", 0.00316, 9.845),
])  # fmt: skip
def test_weights_tell_the_levels_to_sample_at(name, low, high, tmp_path):
    """The first of Ho et al.'s table is 0.01; none has levels outside those it was trained at."""
    loss = {**ABOUT["loss"], "name": name}
    training.save_weights(tmp_path / "w", {"w": np.zeros(3, np.float32)}, ABOUT | {"loss": loss})
    found = training.levels_of(tmp_path / "w")
    np.testing.assert_allclose([found.sigma_min, found.sigma_max], [low, high], rtol=1e-3)
    least, greatest = training.trained_range(LossConfig(name))
    assert least <= found.sigma_min and found.sigma_max <= greatest


def test_the_ranges_of_levels_are_those_of_the_times():
    ends = {"vp": (vp_sigma, 1e-5, 1.0), "cosine": (cosine_sigma, 0.001, 0.999)}
    ends["ddpm"] = ddpm_sigma, 0.0, 999.0
    for name, (sigma_of, first, last) in ends.items():
        found = training.trained_range(LossConfig(name))
        np.testing.assert_allclose(found, [sigma_of(np, first), sigma_of(np, last)], rtol=1e-5)
    assert training.trained_range(LossConfig("flow")) == (0.0, np.inf)


def test_entries_that_are_null_are_no_part_of_a_run():
    """So that runs from before there were these go on."""
    loss = identity(training.Config())["loss"]
    assert not {"predict", "weighting", "time", "coupling"} & loss.keys()
    loss = identity(training.Config(loss=LossConfig("vp", predict="v")))["loss"]
    assert loss["predict"] == "v" and "weighting" not in loss


@pytest.mark.parametrize("options, words", [
    (dict(predict="v"), "`loss.predict` is an entry of vp, cosine, ddpm, and loss.name is 'edm'"),
    (dict(name="vp", time="logit_normal"), "`loss.time` is an entry of flow, and loss.name is"),
    (dict(name="cosine", coupling="minibatch"), "`loss.coupling` is an entry of flow"),
    (dict(weighting="p2", uncertainty=True), "loss.uncertainty learns a weight for each"),
    (dict(name="flaw"), "`loss.name` must be .* Did you mean 'flow'?"),
    (dict(predict="velocity"), "`loss.predict` must be 'eps', 'v' or 'x0'"),
])  # fmt: skip
def test_entries_that_go_with_another_loss_are_a_sentence(options, words, unchecked):
    with pytest.raises(ValueError, match=words):
        LossConfig(**options)
    LossConfig(coupling="none", weighting="none", uncertainty=True)


def test_widths_that_are_null_are_those_of_the_paper():
    null, paper = LossConfig(sigma_data=None, p_mean=None), LossConfig(sigma_data=0.5, p_mean=-1.2)
    programs = [
        str(jax.make_jaxpr(partial(training.build_loss(config), lambda p, x, c: x, None))(X0, KEY))
        for config in (null, paper)
    ]
    assert programs[0] == programs[1]
    assert training.build_denoiser(null, lambda x, c: x).sigma_data == 0.5


@pytest.mark.parametrize("name", ["ddpm", *later("edm", "dsm", "vp", "cosine", "flow")])
def test_what_a_learned_weighting_reads_is_of_unit_size(name):
    """Its features are smooth over numbers of this size; of timesteps each would be alone."""
    loss = training.build_loss(LossConfig(name, uncertainty=True))

    @jax.jit
    def both():
        seen = {}

        def net(params, x, c):
            seen["c"] = c
            return x

        return loss(net, None, jnp.zeros((500, 1)), KEY), seen["c"]

    each, shown = both()
    assert abs(each.c_noise).max() < 2.5
    if name == "ddpm":
        np.testing.assert_allclose(each.sigma, TABLE[np.asarray(shown, int)], rtol=1e-4)
        np.testing.assert_allclose(each.c_noise, np.log(each.sigma) / 4, rtol=1e-5)
        assert shown.min() < 20 and shown.max() > 980
    else:
        np.testing.assert_array_equal(each.c_noise, shown)


def test_the_frequencies_of_a_network_are_for_what_it_is_given():
    """Over all timesteps of `ddpm` as over its levels in log(sigma) / 4, which span 2.4."""
    span = np.ptp(np.log(TABLE)) / 4
    for name in ("unet", "patch_unet", "score_net"):
        net = training.NetConfig(name)
        assert build.with_frequencies(net, LossConfig("flow")) is net
        own = build.with_frequencies(net, LossConfig("ddpm")).fourier_scale
        usual = {"unet": 1.0, "patch_unet": 16.0, "score_net": 30.0}[name]
        np.testing.assert_allclose(own * 999, usual * span, rtol=0.02)
    chosen = training.NetConfig("unet", fourier_scale=3.0)
    assert build.with_frequencies(chosen, LossConfig("ddpm")) is chosen


WIDE = re.compile(r":f64\[\d")


@pytest.mark.parametrize("name", [*later("vp", "cosine"), "ddpm", "flow"])
def test_draws_are_float32_under_x64(x64, name):
    config = LossConfig(name, weighting="min_snr", stratified=True)
    loss = training.build_loss(config)
    net = lambda params, x, c: jnp.tanh(x + c[:, None])  # noqa: E731
    program = jax.make_jaxpr(partial(loss, net, None))(X0, KEY)
    assert {str(v.dtype) for v in program.out_avals} == {"float32"}
    assert not WIDE.search(str(program))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vp", "cosine", "ddpm", "flow"])
def test_a_run_is_trained_and_sampled(name, tmp_path):
    options = dict(uncertainty=True) if name == "ddpm" else {}
    options |= dict(coupling="minibatch") if name == "flow" else {}
    config = config_of_run(tmp_path / "run", loss=LossConfig(name, stratified=True, **options))
    training.train(config, training.load_dataset("digits"), progress=False)
    trained = training.load_trained(tmp_path / "run")
    low, high = training.levels_of(tmp_path / "run")[:2]
    sample = training.SampleConfig(
        num_samples=4, num_steps=3, schedule=f"karras(sigma_min={low}, sigma_max={high})"
    )
    made = training.generate(trained.denoise, sample, trained.image_shape, progress=False)
    assert made.shape == (4, 8, 8, 1) and np.isfinite(made).all()
