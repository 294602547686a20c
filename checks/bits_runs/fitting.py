"""Fitted levels and plans, plans as files, and what `evaluate` measures without other files."""

import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from bits_runs import adapter, cases
from bits_runs.adapter import api
from bits_runs.registry import add, run, typed


def fitted_schedule(text: str, dtype: str, **options: Any) -> Any:
    return api.learning.fit_schedule(
        cases.mixture(),
        adapter.sampler(text),
        4,
        cases.points((32, 2), dtype),
        cases.key(),
        updates=3,
        batch_size=8,
        reference_nfe=32,
        **options,
    )


typed("learning/schedule/dpmpp_2m", fitted_schedule, "dpmpp_2m()", dtypes=["float32", "float64"])
typed("learning/schedule/unipc", fitted_schedule, "unipc()", final_zero=False, dtypes=["float32"])


def fitted_plan(dtype: str, **options: Any) -> Any:
    plan = api.learning.fit_plan(
        cases.mixture(),
        4,
        cases.points((32, 2), dtype),
        cases.key(),
        updates=3,
        batch_size=8,
        reference_nfe=32,
        **options,
    )
    about = plan.about
    return adapter.plan_arrays(plan), about.fitted_on, about.validation_error, about.sigma_range


typed("learning/plan", fitted_plan, dtypes=["float32", "float64"])
typed("learning/plan/narrow", fitted_plan, window=2, final_zero=False, dtypes=["float32"])


@run("learning/plan/cond")
def fitted_with_conditions() -> Any:
    plan = api.learning.fit_plan(
        cases.Tree(),
        3,
        cases.points((16, 3)),
        cases.key(),
        cond=jnp.linspace(0.0, 1.0, 16),
        updates=2,
        batch_size=8,
        reference_nfe=24,
    )
    return adapter.plan_arrays(plan)


# ---- plans as files and as text


def saved(text: str) -> Any:
    """The file of a plan, byte by byte, the plan that it gives back, and what is printed."""
    plan = cases.plan(adapter.sampler(text))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "plan.json"
        plan.save(path, fitted_on="nothing")
        return path.read_text(), adapter.plan_arrays(type(plan).load(path)), repr(plan)


for _text in ("heun()", "unipc()", "ddpm()", "euler_cfg_pp()", "seeds_2()"):
    add(f"plan_files/{_text}", saved, _text)


@run("plan_files/scaled_and_learned")
def saved_scaled() -> Any:
    plan = cases.plan(api.samplers.ddpm("learned_range"), api.processes.ddpm().grid(5))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "plan.json"
        plan.save(path)
        return path.read_text(), adapter.plan_arrays(type(plan).load(path)), repr(plan)


# ---- evaluation


def features(n: int, seed: int, size: int = 6) -> Any:
    return np.random.default_rng(seed).normal(size=(n, size))


@run("evaluation/distances")
def distances() -> Any:
    x, y = features(40, 0), 0.8 * features(30, 1) + 0.1
    found = api.evaluation.precision_recall(x, y, k=3)
    return api.evaluation.frechet_distance(x, y), found.precision, found.recall


@run("evaluation/neighbours")
def neighbours() -> Any:
    training = np.asarray(features(50, 2, 12).reshape(50, 2, 3, 2), np.float32)
    images = np.concatenate([training[:3] + 1e-3, features(9, 3, 12).reshape(9, 2, 3, 2)])
    found = api.evaluation.make_nearest(training)(images.astype(np.float32))
    return found.first, found.second, found.copied()


@run("evaluation/losses")
def losses() -> Any:
    images = np.asarray(features(12, 4, 2), np.float32)
    denoise, best = cases.mixture(), api.evaluation.best_denoiser(images)
    mean = api.evaluation.mean_loss(denoise, images, num_noises=3, chunk_size=5)
    levels = api.evaluation.level_losses(denoise, best, images, [0.1, 1.0], chunk_size=5)
    trained = api.evaluation.level_losses(
        denoise, best, images, [0.5], chunk_size=12, training_images=True
    )
    return tuple(mean), [_numbers(level) for level in (*levels, *trained)]


def _numbers(level: Any) -> Any:
    return level.sigma, tuple(level.network), tuple(level.best), tuple(level.excess)


@run("evaluation/means")
def means() -> Any:
    return tuple(api.evaluation.mean_of([1.0, 2.5, 3.7])), api.evaluation.class_shares(
        np.array([0, 1, 1, 7])
    )
