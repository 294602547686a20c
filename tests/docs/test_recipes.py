"""The code of docs/recipes.md runs, and samples what its exact networks say."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from jax.tree_util import Partial
from support import pages

import edmjax as ej
from edmjax import training

TEXT = pages.text_of("recipes")
FIRST, *REST = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.S | re.M)
RECIPES = dict([FIRST, *REST])
# Two points of deviation 0.1 a coordinate. Each label has one of them, and 2 stands for both.
POINT, WIDTH = 0.6, 0.1


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.S)


def denoised(x, sigma, label=None):
    """The exact denoiser: where the label does not say which point it is, the odds do."""
    total = WIDTH**2 + sigma**2
    which = jnp.tanh(POINT * x / total)
    if label is not None:
        which = jnp.select([label == 0, label == 1], [1.0, -1.0], which.T).T
    near = POINT * which
    return near + WIDTH**2 / total * (x - near)


def networks():
    """The denoiser in the terms of each recipe's network, from its own input and time alone."""
    ddpm, song = ej.processes.ddpm(), ej.processes.song_ve(25.0)
    sdxl = ej.processes.ddpm("scaled_linear", 0.00085, 0.012)
    zero = ej.processes.ddpm("scaled_linear", rescale_zero_snr=True)

    def eps(process, x, t, label=None):
        alpha, std = process.marginal(t)
        return (x - alpha * denoised(x / alpha, std / alpha, label)) / std

    def v(x, t):
        alpha, std = zero.marginal(t)
        safe = jnp.maximum(alpha, 1e-6)  # where it is 0, the mean of the data is
        x0 = jnp.where(alpha > 0, denoised(x / safe, std / safe), 0.0)
        return alpha * (x - alpha * x0) / std - std * x0

    def edm(x, c_noise):
        sigma = jnp.exp(4 * c_noise)
        total = jnp.hypot(sigma, 0.5)
        c_skip, c_out = (0.5 / total) ** 2, 0.5 * sigma / total
        return (denoised(total * x, sigma) - c_skip * total * x) / c_out

    def score(x, t):
        sigma = song.sigma(t)
        return (denoised(x, sigma) - x) / sigma

    return {
        "class_net": lambda x, t, label: eps(sdxl, x, t, label),
        "eps_net": lambda x, t: eps(ddpm, x, t),
        "edm_net": edm,
        "score_net": score,
        "v_net": v,
    }


def run(recipe, **others):
    """The names that a recipe leaves behind."""
    names = networks()
    for block in blocks(TEXT.partition("\n## ")[0]) + blocks(RECIPES[recipe]):
        exec(compile(block, "recipes.md", "exec"), names)
        names |= others
    return names


def close(got, want, atol=1e-3):
    assert np.std(want) > 0.3
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)


def test_there_are_five_recipes_of_about_five_lines():
    assert len(RECIPES) == 5
    for text in RECIPES.values():
        lines = [line for block in blocks(text) for line in block.splitlines() if line.strip()]
        assert len(lines) <= 12


def test_sdxl(capsys):
    names = run("Euler as SDXL runs it")
    guided = ej.guidance.classifier_free(denoised, 7.0, uncond=2)
    close(names["x0_sdxl"], ej.sample(guided, names["plan"], names["x"], cond=names["label"]))
    assert "40/40" in capsys.readouterr().err
    plan, guided = names["plan"], names["guided"]
    np.testing.assert_array_equal(plan.grid, ej.schedules.ddpm(40))
    text = (
        jax.jit(lambda x: ej.sample(guided, plan, x, cond=names["label"]))
        .lower(names["x"])
        .as_text()
    )
    # Both branches, 40 steps: one loop, and one copy of the network.
    assert text.count("stablehlo.while") == text.count("stablehlo.tanh") == 1


@pytest.mark.slow
def test_edm():
    names = run("EDM with churn")
    start = names["sigmas"][0] * names["noise"]
    close(names["x0_edm"], ej.sample(denoised, names["plan"], start, names["key"]))


@pytest.mark.slow
def test_ddpm_and_ddim():
    names = run("DDPM and DDIM")
    exact, noise, key = ej.guidance.clip(denoised), names["noise"], names["key"]
    close(names["x0_ddpm"], ej.sample(exact, names["ddpm"], noise, key))
    grid = ej.processes.ddpm().grid(20)
    for eta, x0 in zip((0.0, 0.5, 1.0), names["x0_ddim"], strict=True):
        plan = ej.make_plan(ej.samplers.ancestral(ej.samplers.euler(), eta), grid)
        close(x0, ej.sample(exact, plan, noise, key))


@pytest.mark.slow
def test_score_sde():
    names = run("Score SDE")
    plan, x, key = names["plan"], names["x"], names["key"]
    close(names["x0_em"], ej.sample(denoised, plan, x, key))
    corrected = ej.sample(denoised, plan, x, key, corrector=names["corrector"])
    close(names["x0_pc"], corrected, atol=1e-2)
    heun = ej.make_plan(ej.samplers.heun(), names["grid"])
    close(names["x0_ode"], ej.sample(denoised, heun, x))
    # Three samplers of one law: near one of the points, with its width.
    for name in ("x0_em", "x0_pc", "x0_ode"):
        near = np.abs(names[name]) - POINT
        assert abs(near.mean()) < 0.03 and 0.08 < near.std() < 0.13, name


@pytest.mark.slow
def test_v_prediction():
    names = run("v-prediction from zero terminal SNR")
    exact = ej.guidance.dynamic_threshold(denoised, 0.995)
    close(names["x0_v"], ej.sample(exact, names["plan"], names["noise"]))


@pytest.mark.slow
def test_a_network_trained_by_score_matching_is_loaded_as_the_page_says(tmp_path):
    """The tutorial's network, small, after 60 steps on digits: what it draws is finite."""
    config = training.Config(
        out=str(tmp_path),
        net=training.NetConfig("score_net", channels=[4, 8], embed_dim=8, fourier_scale=30.0),
        loss=training.LossConfig("dsm"),
        optim=training.OptimConfig(steps=60, batch_size=32),
        sample=training.SampleConfig(num_samples=1),
    )
    training.train(config, training.load_dataset("digits"), progress=False)
    denoise, image_shape = training.load_denoiser(tmp_path)
    assert type(denoise) is type(ej.denoisers.song(lambda x, t: x))
    noise = random.normal(random.key(0), (2, *image_shape))
    names = {"denoise": denoise, "noise": noise, "key": random.key(1), "ej": ej, "np": np}
    exec(blocks(RECIPES["Score SDE"])[1], names)
    for name in ("x0_em", "x0_pc", "x0_ode"):
        assert names[name].shape == (2, 8, 8, 1) and np.isfinite(names[name]).all()


def test_nothing_of_a_recipe_is_compiled_for_again():
    """Guidance scale, eta, churn, grid and the process's own numbers are data."""
    key, x = random.key(0), random.normal(random.key(1), (4, 3))
    label = jnp.arange(4) % 2
    traces = []

    def net(w, x, t, label):
        traces.append(None)
        return w * x

    @jax.jit
    def sample(plan, process, scale, snr, x, key):
        denoise = ej.denoisers.eps(Partial(net, jnp.float32(0.5)), process)
        guided = ej.guidance.classifier_free(denoise, scale, uncond=2)
        corrector = ej.correctors.langevin(snr)
        return ej.sample(guided, plan, x, key, cond=label, corrector=corrector)

    results = []
    for scale, eta, snr, spacing, last in (
        (7.0, 0.5, 0.16, "trailing", 0.02),
        (1.0, 1.0, 0.0, "leading", 0.03),
        (0.0, 0.1, 0.3, "linspace", 0.01),
    ):
        process = ej.processes.ddpm("linear", 1e-4, last)
        plan = ej.make_plan(ej.samplers.ddim(eta), process.grid(7, spacing))
        results.append(np.asarray(sample(plan, process, scale, snr, x, key)))
    assert sample._cache_size() == 1
    assert len(traces) == 2  # in the loop and in the corrector
    assert all(np.isfinite(result).all() for result in results)
    assert not np.allclose(results[0], results[1]) and not np.allclose(results[0], results[2])
