"""Writes the plans that whole systems are run with: tests/pretrained/golden/plan_*.json.

    python checks/pretrained_plans.py

For a tiny SDXL under guidance 7 and a tiny network of DDIM, both with redrawn weights, it saves the
plan of `ej.recommend` and one of `ej.learning.fit_plan`. `checks/pretrained_systems.py` runs them
in torch afterwards. The goldens of the systems without plans must be there.
"""

import pathlib
import sys
import tempfile
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from support.pretrained import GOLDEN, golden, save_pipeline

import edmjax as ej

NFE = 6
FIT: dict[str, Any] = dict(updates=10, batch_size=8, reference_nfe=24)


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = pathlib.Path(root)
        run = golden("system_sgm")
        save_pipeline(folder / "sdxl", run["config"]["unet"], run["config"]["scheduler"])
        cond, uncond = (
            {k.removeprefix(f"{name}_"): v[:1] for k, v in run.items() if k.startswith(f"{name}_")}
            for name in ("cond", "uncond")
        )
        denoise = ej.pretrained.load(folder / "sdxl", dtype="float32")
        guided = ej.guidance.classifier_free(denoise, 7.0, uncond=uncond)
        write("sdxl", denoise, guided, cond)
        config = golden("unet2d_ddpm")["config"]
        save_pipeline(folder / "ddim", config, {"_class_name": "DDIMScheduler"})
        denoise = ej.pretrained.load(folder / "ddim", dtype="float32")
        write("ddim", denoise, denoise, None)


def write(name: str, denoise: ej.pretrained.Pretrained, guided: Any, cond: Any) -> None:
    low, high = denoise.sigma_range
    ends: dict[str, Any] = dict(sigma_min=low, sigma_max=high)
    pair = ej.recommend(NFE, sigma_data=denoise.sigma_data, **ends)
    ej.make_plan(*pair).save(GOLDEN / f"plan_{name}_recommended.json")
    shape = denoise.shape
    assert shape is not None
    x = high * jax.random.normal(jax.random.key(0), (16, *shape), np.float32)
    fitted = ej.learning.fit_plan(guided, NFE, x, jax.random.key(1), cond=cond, **ends, **FIT)
    fitted.save(GOLDEN / f"plan_{name}_fitted.json")
    print(f"{name}: {fitted.about.fitted_on}", flush=True)


if __name__ == "__main__":
    main()
