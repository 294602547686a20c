"""Writes tests/support/golden/diffusers_rows.json: samples of diffusers' schedulers in float64.

    python checks/diffusers_rows.py FOLDER

It needs torch and diffusers, which neither this package nor its tests do. Schedulers compute their
tables in float32, so a copy of the package is made in `FOLDER` in which they are float64. Samples
are of a closed-form network; the draws are those of `numpy.random.RandomState(7)`.
"""

import importlib.util
import itertools
import json
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "tests/support/golden/diffusers_rows.json"
SHAPE = (2, 3)
LINEAR = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
V = {"prediction_type": "v_prediction"}
SPACINGS: list[dict[str, Any]] = [
    {"timestep_spacing": "linspace"},
    {"timestep_spacing": "leading", "steps_offset": 1},
    {"timestep_spacing": "trailing"},
]
LINSPACE = SPACINGS[0]
SDE = {"algorithm_type": "sde-dpmsolver++"}
LOW = {"final_sigmas_type": "sigma_min"}


def cases() -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The scheduler, the number of steps and the options of each row."""
    for name in ("Euler", "EulerAncestral", "Heun", "KDPM2", "KDPM2Ancestral", "LMS"):
        for spacing in SPACINGS:
            yield f"{name}Discrete", 7, LINEAR | spacing
        yield f"{name}Discrete", 7, STABLE | LINSPACE | V
        if name in ("Euler", "Heun", "LMS"):
            yield f"{name}Discrete", 7, LINEAR | LINSPACE | {"use_karras_sigmas": True}
    yield "EulerDiscrete", 7, LINEAR | SPACINGS[2] | LOW
    for spacing, eta in itertools.product(SPACINGS[1:], (0.0, 0.7)):
        yield "DDIM", 10, LINEAR | spacing | {"eta": eta, "clip_sample": False}
    yield "DDIM", 10, STABLE | SPACINGS[1] | {"eta": 0.5, "clip_sample": True}
    last = {"set_alpha_to_one": False, "clip_sample": False}
    yield "DDIM", 10, STABLE | SPACINGS[1] | V | last
    for spacing, variance in itertools.product(SPACINGS, ("fixed_small", "fixed_large")):
        yield "DDPM", 10, LINEAR | spacing | {"variance_type": variance, "clip_sample": False}
    for spacing in SPACINGS:
        for order in (1, 2, 3):
            yield "DPMSolverMultistep", 8, LINEAR | spacing | {"solver_order": order}
        yield "DPMSolverMultistep", 20, LINEAR | spacing | {"solver_type": "heun"}
        yield "DPMSolverMultistep", 8, LINEAR | spacing | SDE
        yield "DPMSolverMultistep", 20, LINEAR | spacing | SDE | {"solver_type": "heun"}
    for lowered in (True, False):
        options = LINEAR | LINSPACE | LOW | {"lower_order_final": lowered}
        for more in ({}, {"solver_order": 3}, SDE):
            yield "DPMSolverMultistep", 8, options | more
    yield "DPMSolverMultistep", 20, LINEAR | LINSPACE | LOW | SDE | {"euler_at_final": True}
    yield "DPMSolverMultistep", 8, STABLE | LINSPACE | V | {"use_karras_sigmas": True}
    options = LINEAR | LINSPACE | LOW | {"algorithm_type": "dpmsolver"}
    yield "DPMSolverMultistep", 8, options | {"lower_order_final": False}
    for order in (1, 2, 3):
        yield "DPMSolverSinglestep", 9, LINEAR | {"solver_order": order}
        yield "DEISMultistep", 8, LINEAR | LINSPACE | {"solver_order": order}
        yield "UniPCMultistep", 8, LINEAR | LINSPACE | {"solver_order": order}
        bh1 = {"solver_order": order, "solver_type": "bh1"}  # NaN there on a step to zero
        yield "UniPCMultistep", 8, LINEAR | LINSPACE | LOW | bh1
    yield "UniPCMultistep", 8, LINEAR | SPACINGS[1] | LOW | {"predict_x0": False}
    yield "DEISMultistep", 20, LINEAR | SPACINGS[2] | {"solver_order": 3}
    for kind, skip in itertools.product(("epsilon", "v_prediction"), (False, True)):
        options = LINEAR | {"timestep_spacing": "leading", "set_alpha_to_one": True}
        yield "PNDM", 10, options | {"skip_prk_steps": skip, "prediction_type": kind}
    for (p, c), lowered in itertools.product(((1, 1), (2, 2), (3, 3), (3, 4)), (True, False)):
        orders = {"predictor_order": p, "corrector_order": c, "lower_order_final": lowered}
        yield "SASolver", 9, LINEAR | LINSPACE | orders
    for name, spacing in itertools.product(
        ("EDMEuler", "EDMDPMSolverMultistep"), ("karras", "exponential")
    ):
        yield name, 8, {"sigma_schedule": spacing}
    yield "EDMDPMSolverMultistep", 8, {"solver_order": 3}
    yield "DPMSolverMultistepInverse", 8, dict(LINEAR)


def net(x: Any, t: float, v: bool) -> Any:
    """The network, in the formulas of the test that reads these rows."""
    if v:
        return -0.6 * x.tanh() * (t + 1) / (t + 300) - 12 * x / (t + 60)
    return 0.8 * x.tanh() * (t + 5) / (t + 60) + 0.1 * x


def run(package: Any, torch: Any, name: str, n: int, options: dict[str, Any]) -> dict[str, Any]:
    draws = iter(np.random.RandomState(7).normal(size=(60, *SHAPE)))
    scheduler_class = getattr(package, f"{name}Scheduler")
    module: Any = sys.modules[scheduler_class.__module__]
    module.randn_tensor = lambda *args, **named: torch.tensor(next(draws))
    extra = {"eta": options["eta"]} if "eta" in options else {}
    scheduler = scheduler_class(**{k: v for k, v in options.items() if k != "eta"})
    scheduler.set_timesteps(n)
    init = float(scheduler.init_noise_sigma)
    x = init * torch.tensor(np.random.RandomState(3).normal(size=SHAPE))
    for t in scheduler.timesteps:
        shown = scheduler.scale_model_input(x, t)
        output = net(shown, float(t), options.get("prediction_type") == "v_prediction")
        x = scheduler.step(output, t, x, **extra).prev_sample
    row = {"scheduler": name, "n": n, "options": options, "init": init}
    return row | {"sample": x.tolist()}


def main() -> None:
    found = importlib.util.find_spec("diffusers")
    assert found is not None and found.origin is not None, "install diffusers"
    copy = pathlib.Path(sys.argv[1]) / "diffusers"
    shutil.copytree(pathlib.Path(found.origin).parent, copy, dirs_exist_ok=True)
    for path in (copy / "schedulers").glob("*.py"):
        path.write_text(path.read_text().replace("float32", "float64"))
    sys.path.insert(0, sys.argv[1])
    import diffusers
    import torch

    torch.set_default_dtype(torch.float64)
    rows = [run(diffusers, torch, *case) for case in cases()]
    lines = ",\n".join(json.dumps(row) for row in rows)
    made = f"diffusers {diffusers.__version__} in float64, by checks/diffusers_rows.py"
    GOLDEN.write_text(f'{{"made": "{made}",\n"rows": [\n{lines}\n]}}\n')
    print(f"{len(rows)} rows")


if __name__ == "__main__":
    main()
