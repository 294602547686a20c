"""Whole systems, from noise and prompts to pixels, against their own code with redrawn weights.

`checks/pretrained_systems.py` ran SDXL under the sampler of its authors' package, under diffusers'
own pipeline, and under plans in NumPy; all in float64 but the pipeline, whose scheduler is float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.pretrained import GOLDEN, golden, save, save_pipeline

import edmjax as ej

STEPS = 40


@jax.jit
def pictures(denoise, autoencoder, plan, noise, draws, cond, uncond, scale):
    """Latents and pixels: all that a run consists of is an argument."""
    guided = ej.guidance.classifier_free(denoise, scale, uncond=uncond)
    guided = ej.denoisers.quantized(guided, denoise.process)
    z = ej.sample(guided, plan, noise, noise=draws, cond=cond)
    return z, autoencoder.decode(z).clip(-1, 1) / 2 + 0.5


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    """A tiny SDXL on disk, loaded in float64."""
    root = tmp_path_factory.mktemp("sdxl")
    config = golden("system_sgm")["config"]
    save_pipeline(root, config["unet"], config["scheduler"])
    save(root / "vae", config["vae"])
    with jax.enable_x64(True):
        return ej.pretrained.load(root), ej.pretrained.load_autoencoder(root)


def arrays_of(case):
    """The noise, channels last, and the conditions of both branches."""
    run = golden(case)
    return last(run["noise"].astype(np.float64)), branch(run, "cond"), branch(run, "uncond")


def branch(run, name):
    start = f"{name}_"
    return {k.removeprefix(start): jnp.asarray(v) for k, v in run.items() if k.startswith(start)}


def last(images):
    return jnp.asarray(np.moveaxis(images, -3, -1))


def relative(got, wanted):
    return float(np.abs(got - last(wanted)).max() / np.abs(wanted).max())


def churned(denoise):
    churn = golden("system_sgm")["config"]["churn"]
    options = dict(s_churn=churn["s_churn"], s_min=churn["s_tmin"], s_max=churn["s_tmax"])
    sampler = ej.samplers.churn(ej.samplers.euler(), **options, s_noise=churn["s_noise"])
    return ej.make_plan(sampler, denoise.process.grid(STEPS, "legacy").sigmas)


def run_sdxl(sdxl, case, plan, start, draws=None):
    """The errors of latents, over the largest, and of pixels."""
    run, (_, cond, uncond) = golden(case), arrays_of(case)
    draws = jnp.zeros((STEPS, *start.shape)) if draws is None else draws
    z, images = pictures(*sdxl, plan, start, draws, cond, uncond, run["config"]["guidance"])
    return relative(z, run["latents"]), np.abs(images - last(run["images"])).max()


@pytest.mark.thorough
def test_sdxl_of_its_authors(sdxl, x64):
    noise, *_ = arrays_of("system_sgm")
    plan = churned(sdxl[0])
    start = np.sqrt(1 + plan.grid[0] ** 2) * noise[0]
    latents, pixels = run_sdxl(sdxl, "system_sgm", plan, start, noise[1:])
    assert latents < 1e-9 and pixels < 1e-9


@pytest.mark.thorough
def test_sdxl_of_diffusers(sdxl, x64):
    """The same program: a plan without draws, in the shapes of the one with them."""
    noise, *_ = arrays_of("system_pipeline")
    grid = sdxl[0].levels(STEPS)
    plan = ej.make_plan(ej.samplers.euler(), grid.sigmas, like=churned(sdxl[0]))
    start = np.sqrt(1 + plan.grid[0] ** 2) * noise[0]
    latents, pixels = run_sdxl(sdxl, "system_pipeline", plan, start)
    assert latents < 1e-4 and pixels < 1 / 255


@pytest.mark.thorough
def test_one_program_for_all(sdxl, x64):
    """Prompts, seeds, guidance, samplers of as many steps: all of them are arguments."""
    noise, cond, uncond = arrays_of("system_sgm")
    grid, like = sdxl[0].levels(STEPS).sigmas, churned(sdxl[0])
    samplers = (ej.samplers.euler(), ej.samplers.ancestral(ej.samplers.euler()))
    plans = [like, *(ej.make_plan(sampler, grid, like=like) for sampler in samplers)]
    for i, plan in enumerate(plans):
        words = jax.tree.map(lambda leaf, i=i: leaf + i, cond)
        start = plan.grid[0] * jax.random.normal(jax.random.key(i), noise[0].shape)
        out, _ = pictures(*sdxl, plan, start, noise[1:], words, uncond, 1.5 * i)
        assert np.isfinite(out).all()
    assert pictures._cache_size() == 1


# ---- plans, which the other side ran step by step


@pytest.mark.slow
@pytest.mark.parametrize("how", ["recommended", "fitted"])
def test_sdxl_under_a_plan(how, sdxl, x64):
    """Between the levels of the table, and the network is shown times between timesteps."""
    run, (noise, cond, uncond) = golden(f"system_sdxl_{how}"), arrays_of(f"system_sdxl_{how}")
    plan = ej.Plan.load(GOLDEN / f"plan_sdxl_{how}.json")
    denoise, autoencoder = sdxl
    guided = ej.guidance.classifier_free(denoise, run["config"]["guidance"], uncond=uncond)
    z = ej.sample(guided, plan, plan.grid[0] * noise[0], cond=cond)
    assert relative(z, run["latents"]) < 1e-9
    images = autoencoder.decode(z).clip(-1, 1) / 2 + 0.5
    assert np.abs(images - last(run["images"])).max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("how", ["recommended", "fitted"])
def test_ddim_under_a_plan(how, tmp_path, x64):
    run, noise = golden(f"system_ddim_{how}"), arrays_of(f"system_ddim_{how}")[0]
    save_pipeline(tmp_path, run["config"]["unet"], run["config"]["scheduler"])
    denoise = ej.pretrained.load(tmp_path)
    plan = ej.Plan.load(GOLDEN / f"plan_ddim_{how}.json")
    x = ej.sample(denoise, plan, plan.grid[0] * noise[0])
    assert relative(x, run["images"]) < 1e-9
