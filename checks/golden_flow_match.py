"""Writes tests/support/golden/flow_match.json: what diffusers' schedulers make of flows.

    pip install torch diffusers==0.42.1
    python checks/golden_flow_match.py

The classes run from their own source with float64 in the place of float32. Their network is the
exact velocity of the mixture in problem.json, and their draws are the bank there.
"""

import importlib.util
import itertools
import json
import pathlib
from typing import Any

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "tests" / "support" / "golden"
PROBLEM = json.loads((GOLDEN / "problem.json").read_text())
WEIGHTS, MEANS = np.array(PROBLEM["weights"]), np.array(PROBLEM["means"])
GRIDS = {
    "SD3": ("Euler", {"shift": 3.0}, {"num_inference_steps": 28}),
    "SD3, 4 steps": ("Euler", {"shift": 3.0}, {"num_inference_steps": 4}),
    "no shift": ("Euler", {}, {"num_inference_steps": 10}),
    "Heun": ("Heun", {"shift": 3.0}, {"num_inference_steps": 10}),
    "LCM": ("LCM", {"shift": 2.5}, {"num_inference_steps": 6}),
    "Flux": ("Euler", {"use_dynamic_shifting": True}, {"sigmas": 20, "mu": 1.15}),
    "Flux, small": ("Euler", {"use_dynamic_shifting": True}, {"sigmas": 8, "mu": 0.5}),
    "linear mu": (
        "Euler",
        {"use_dynamic_shifting": True, "time_shift_type": "linear"},
        {"sigmas": 8, "mu": 2.0},
    ),
    "LTX": (
        "Euler",
        {"use_dynamic_shifting": True, "shift_terminal": 0.1},
        {"sigmas": 20, "mu": 2.05},
    ),
    "terminal": ("Euler", {"shift": 3.0, "shift_terminal": 0.02}, {"sigmas": 12}),
}
IN_A_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
RUNS = {
    "Euler": ("Euler", {"shift": 3.0}, 8),
    "Heun": ("Heun", {"shift": 3.0}, 8),
    "Heun, no shift": ("Heun", {}, 5),
    "LCM": ("LCM", {"shift": 3.0}, 6),
    "stochastic": ("Euler", {"shift": 3.0, "stochastic_sampling": True}, 6),
    "LTX": ("LTX", {}, 6),
    "DPM": ("DPM", {**IN_A_FLOW, "flow_shift": 3.0}, 8),
    "UniPC": ("UniPC", {**IN_A_FLOW, "flow_shift": 3.0}, 8),
}
CLASSES = {
    "Euler": ("flow_match_euler_discrete", "FlowMatchEulerDiscreteScheduler"),
    "Heun": ("flow_match_heun_discrete", "FlowMatchHeunDiscreteScheduler"),
    "LCM": ("flow_match_lcm", "FlowMatchLCMScheduler"),
    "LTX": ("ltx_euler_ancestral_rf", "LTXEulerAncestralRFScheduler"),
    "DPM": ("dpmsolver_multistep", "DPMSolverMultistepScheduler"),
    "UniPC": ("unipc_multistep", "UniPCMultistepScheduler"),
}


def scheduler(kind: str) -> Any:
    """The class, from its source in float64."""
    file, name_of_class = CLASSES[kind]
    name = f"diffusers.schedulers.scheduling_{file}"
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    source = pathlib.Path(spec.origin).read_text().replace("float32", "float64")
    module = importlib.util.module_from_spec(spec)
    bank = itertools.count()
    exec(compile(source, spec.origin, "exec"), module.__dict__)
    import torch

    def draw(*_: Any, **__: Any) -> Any:
        return torch.tensor(PROBLEM["bank"][next(bank)], dtype=torch.float64)

    module.__dict__["randn_tensor"] = draw
    return module.__dict__[name_of_class]


def made(kind: str, options: dict[str, Any], times: dict[str, Any]) -> Any:
    steps = scheduler(kind)(**options)
    n = times.get("sigmas")
    steps.set_timesteps(**times | ({"sigmas": np.linspace(1, 1 / n, n)} if n else {}))
    return steps


def velocity(x: np.ndarray, t: float) -> np.ndarray:
    """(x - D) / t of the mixture; at t = 1 the mean of the data is D."""
    if t >= 1:
        return x - WEIGHTS @ MEANS
    total = PROBLEM["std"] ** 2 + (t / (1 - t)) ** 2
    point = x / (1 - t)
    gaps = point[:, None, :] - MEANS
    logits = np.log(WEIGHTS) - (gaps**2).sum(-1) / (2 * total)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    narrow = PROBLEM["std"] ** 2 / total
    denoised = shares @ MEANS * (1 - narrow) + narrow * point
    return (x - denoised) / t


def run(kind: str, options: dict[str, Any], n: int) -> dict[str, Any]:
    import torch

    times: dict[str, Any] = {"num_inference_steps": n}
    if kind == "LTX":  # which takes all levels, 0 too
        u = 1 - np.arange(n + 1) / n
        times = {"sigmas": (3 * u / (1 + 2 * u)).tolist()}
    steps = made(kind, options, times) if kind != "LTX" else scheduler(kind)(**options)
    if kind == "LTX":
        steps.set_timesteps(**times)
    x = torch.tensor(PROBLEM["noise"], dtype=torch.float64)
    # The inner levels of Heun are listed twice: the time of evaluation i is timestep i.
    for i, t in enumerate(steps.timesteps):
        time = float(t) / 1000 if kind in ("Euler", "Heun", "LCM") else float(steps.sigmas[i])
        if time == 0:
            break
        v = torch.tensor(velocity(x.numpy(), time))
        x = steps.step(v, t, x).prev_sample
    sigmas = steps.sigmas.tolist()
    return {"class": kind, "options": options, "n": n, "sigmas": sigmas, "x": x.tolist()}


def main() -> None:
    grids = {}
    for name, (kind, options, times) in GRIDS.items():
        steps = made(kind, options, times)
        grids[name] = {
            "class": kind,
            "options": options,
            "times": times,
            "timesteps": steps.timesteps.tolist(),
            "sigmas": steps.sigmas.tolist(),
        }
    runs = {name: run(*options) for name, options in RUNS.items()}
    about = "diffusers 0.42.1's FlowMatch schedulers in float64; see checks/golden_flow_match.py"
    out = {"about": about, "grids": grids, "runs": runs}
    (GOLDEN / "flow_match.json").write_text(json.dumps(out, indent=0) + "\n")


if __name__ == "__main__":
    main()
