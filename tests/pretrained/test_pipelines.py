"""Runs of whole pipelines of diffusers, and what a denoiser tells of its file.

`checks/pretrained_goldens.py` ran the pipelines in float64, on noise that it handed over.
"""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from support.pretrained import GOLDEN, cases, golden, save_pipeline
from support.pretrained_configs import SCHEDULERS

import edmjax as ej
from edmjax.pretrained.schedulers import read_scheduler

DDIM = {"_class_name": "DDIMScheduler"}
GRIDS = json.loads((GOLDEN / "grids.json").read_text())


@pytest.fixture
def saved(tmp_path):
    def save(network="unet2d_plain", scheduler=DDIM, **how):
        save_pipeline(tmp_path, golden(network)["config"], scheduler, **how)
        return tmp_path

    return save


def last(images):
    return jnp.asarray(np.moveaxis(images, -3, -1))


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("ddim"))
def test_ddim_pipeline(case, saved, x64):
    run = golden(case)
    config, call = run["config"], run["config"]["call"]
    denoise = ej.pretrained.load(saved(config["network"], config["scheduler"]))
    clipped = call.get("use_clipped_model_output", False)
    sampler = ej.samplers.ddim(call["eta"], use_clipped_model_output=clipped)
    plan = ej.make_plan(sampler, denoise.levels(call["num_inference_steps"]))
    noise = last(run["noise"])
    draws = noise[1 : 1 + plan.num_draws]
    x = ej.sample(denoise, plan, noise[0], noise=draws if plan.num_draws else None)
    assert error(x, last(run["out"])) < 1e-4
    images = np.clip(np.asarray(x) / 2 + 0.5, 0, 1)
    assert np.abs(images - run["images"]).max() < 1e-4


def error(got, wanted):
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("grid", GRIDS, ids=lambda g: f"{g['config']['_class_name']}-{g['n']}")
def test_levels(grid):
    """The levels that a scheduler visits, and its timesteps, which are float32 there."""
    scheduler, process = read_scheduler(grid["config"], "scheduler_config.json")
    levels = scheduler.levels(process, grid["n"])
    wanted = np.array(grid["sigmas"])
    np.testing.assert_allclose(levels.sigmas, wanted, rtol=2e-4, atol=1e-5)
    times = np.array(grid["timesteps"])
    rounded = "Multistep" in grid["config"]["_class_name"]
    assert np.abs(levels.times[:-1] - times).max() < (0.501 if rounded else 2e-3)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_files_that_many_use(name):
    """Whatever else they hold: whole timesteps, from 1 on in Stable Diffusion."""
    scheduler, process = read_scheduler(SCHEDULERS[name], name)
    levels = scheduler.levels(process, 20)
    first, last = (951, 1) if name.startswith("sd") else (950, 0)
    assert (levels.times[0], levels.times[-2]) == (first, last)
    assert scheduler.clip == (None if name.startswith("sd") else 1.0)
