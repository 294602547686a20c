"""Writes tests/support/golden/names.json: samplers and schedules of ComfyUI and k-diffusion.

    pip install torch scipy tqdm pillow safetensors einops torchsde torchdiffeq
    pip install --no-deps k-diffusion==0.1.1.post1
    python checks/golden_names.py CHECKOUT_OF_COMFYUI COMMIT

The functions run from their own source with float64 in the place of float32, on the exact denoiser
of the mixture in problem.json: on the table of Stable Diffusion, and on flows of shift 1 and 3.
Draws are those of the bank in problem.json, in order; where a function asks for increments of one
path, the path is a Brownian one in `t / (1 - t)` or sigma, made of them.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch

GOLDEN = pathlib.Path(__file__).parents[1] / "tests" / "support" / "golden"
PROBLEM = json.loads((GOLDEN / "problem.json").read_text())
WEIGHTS, MEANS = np.array(PROBLEM["weights"]), np.array(PROBLEM["means"])
REAL = (
    "comfy",
    "comfy.samplers",
    "comfy.model_sampling",
    "comfy.k_diffusion",
    "comfy.k_diffusion.sampling",
    "comfy.k_diffusion.utils",
    "comfy.k_diffusion.deis",
    "comfy.k_diffusion.sa_solver",
    "comfy.extra_samplers",
    "comfy.extra_samplers.uni_pc",
    "comfy.ldm",
    "comfy.ldm.modules",
    "comfy.ldm.modules.diffusionmodules",
    "comfy.ldm.modules.diffusionmodules.util",
    "k_diffusion",
    "k_diffusion.sampling",
    "k_diffusion.utils",
)
# cfg_pp variants need guidance inside ComfyUI's own model; gpu variants are the same functions.
SAMPLERS = [
    *("euler", "euler_ancestral", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast"),
    *("dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_heun"),
    *("dpmpp_3m_sde", "ddpm", "lcm", "ipndm", "ipndm_v", "deis", "res_multistep"),
    *("res_multistep_ancestral", "gradient_estimation", "er_sde", "seeds_2", "seeds_3"),
    *("sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2"),
]
K_SAMPLERS = [
    *("euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast"),
    *("dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde"),
]
STEPS = 7


class Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the modules in `REAL` in float64, and gives empty ones for all others of theirs."""

    def __init__(self, roots: dict[str, pathlib.Path]):
        self.roots = roots

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.split(".")[0] in (*self.roots, "torchvision"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        return None if spec.name in REAL else mock.MagicMock(__path__=[], __spec__=spec)

    def exec_module(self, module: Any) -> None:
        name = module.__spec__.name if module.__spec__ else ""
        if name not in REAL:
            return
        module.__path__ = []
        file = (self.roots[name.split(".")[0]] / pathlib.Path(*name.split("."))).with_suffix(".py")
        if not file.exists():
            return
        module.__package__ = name.rpartition(".")[0]
        source = file.read_text()
        for old, new in (
            ("FloatTensor", "DoubleTensor"),
            ("float32", "float64"),
            (".float()", ".double()"),
            ("dtype=torch.float)", "dtype=torch.float64)"),
        ):
            source = source.replace(old, new)
        exec(compile(source, str(file), "exec"), module.__dict__)


def denoised(x: np.ndarray, sigma: float) -> np.ndarray:
    """The exact denoiser; at an infinite level the mean of the data."""
    if not np.isfinite(sigma):
        return np.broadcast_to(WEIGHTS @ MEANS, x.shape).copy()
    total = PROBLEM["std"] ** 2 + sigma**2
    gaps = x[:, None, :] - MEANS
    logits = np.log(WEIGHTS) - (gaps**2).sum(-1) / (2 * total)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    narrow = PROBLEM["std"] ** 2 / total
    return shares @ MEANS * (1 - narrow) + narrow * x


class Model:
    """What the samplers call: the denoiser, and ComfyUI's description of the model's levels."""

    def __init__(self, model_sampling: Any, flow: bool):
        self.flow, self.count = flow, 0
        inner = types.SimpleNamespace(model_sampling=model_sampling)
        patcher = types.SimpleNamespace(get_model_object=lambda name: model_sampling)
        self.inner_model = types.SimpleNamespace(inner_model=inner, model_patcher=patcher)

    def __call__(self, x: Any, sigma: Any, **_: Any) -> Any:
        self.count += 1
        level, point = float(sigma.reshape(-1)[0]), x.numpy()
        if self.flow:
            with np.errstate(divide="ignore", invalid="ignore"):
                level, point = np.float64(level) / (1 - level), point / (1 - level)
        return torch.tensor(denoised(point, level))


class Path:
    """Unit increments of one path over levels, in order of the bank."""

    def __init__(self, flow: bool):
        self.flow, self.used = flow, 0
        self.places: list[tuple[float, Any]] = []

    def __call__(self, start: Any, end: Any) -> Any:
        a, b = (self.level(float(s)) for s in (start, end))
        if not self.places or abs(self.places[0][0] - a) > 1e-9 * a:
            self.places = [(a, np.zeros_like(PROBLEM["noise"]))]
        known = [value for place, value in self.places if abs(place - b) <= 1e-12 * b]
        if not known:
            last, value = self.places[-1]
            assert b < last, "a level between two known ones needs a bridge"
            draw, self.used = np.array(PROBLEM["bank"][self.used]), self.used + 1
            known = [value + np.sqrt(last - b) * draw]
            self.places.append((b, known[0]))
        return torch.tensor(known[0] / np.sqrt(a - b))

    def level(self, sigma: float) -> float:
        if not self.flow:
            return sigma
        return sigma / (1 - sigma) if sigma < 1 else 1e300


def run(function: Callable[..., Any], name: str, model: Model, sigmas: Any, start: float) -> Any:
    x = torch.tensor(PROBLEM["noise"], dtype=torch.float64) * start
    path = Path(model.flow)
    options: dict[str, Any] = {"disable": True, "extra_args": {}}
    if "noise_sampler" in inspect.signature(function).parameters:
        options["noise_sampler"] = path
    if name == "dpm_fast":
        out = function(model, x, sigmas[-2], sigmas[0], len(sigmas) - 1, disable=True)
    else:
        out = function(model, x, sigmas.clone(), **options)
    return {"x": out.tolist(), "nfe": model.count, "draws": path.used}


def main() -> None:
    checkout = pathlib.Path(sys.argv[1]).resolve()
    spec = importlib.util.find_spec("k_diffusion")
    assert spec is not None and spec.origin is not None
    k_root = pathlib.Path(spec.origin).parents[1]
    torch.set_default_dtype(torch.float64)
    sys.meta_path.insert(0, Sources({"comfy": checkout, "k_diffusion": k_root}))
    samplers = importlib.import_module("comfy.samplers")
    sampling = importlib.import_module("comfy.k_diffusion.sampling")
    uni_pc = importlib.import_module("comfy.extra_samplers.uni_pc")
    ms = importlib.import_module("comfy.model_sampling")
    theirs = importlib.import_module("k_diffusion.sampling")

    class SD(ms.ModelSamplingDiscrete, ms.EPS):
        pass

    class Flow(ms.ModelSamplingDiscreteFlow, ms.CONST):
        pass

    models: dict[str, Any] = {"sd": SD()}
    for shift in (1.0, 3.0):
        models[f"flow {shift:g}"] = Flow()
        models[f"flow {shift:g}"].set_parameters(shift=shift)

    schedules, runs, k_runs = {}, {}, {}
    for kind, model_sampling in models.items():
        for n in (STEPS, 10, 20):
            for name in samplers.SCHEDULER_NAMES:
                sigmas = samplers.calculate_sigmas(model_sampling, name, n)
                schedules[f"{kind}, {name}, {n}"] = sigmas.tolist()
        sigmas = samplers.calculate_sigmas(model_sampling, "simple", STEPS)
        flow = kind != "sd"
        start = float(sigmas[0])
        for name in SAMPLERS:
            function = {
                "uni_pc": uni_pc.sample_unipc,
                "uni_pc_bh2": uni_pc.sample_unipc_bh2,
                "ddim": sampling.sample_euler,
            }.get(name) or getattr(sampling, f"sample_{name}")
            model = Model(model_sampling, flow)
            runs[f"{kind}, {name}"] = run(function, name, model, sigmas, start)
        for name in K_SAMPLERS:
            if flow and ("ancestral" in name or "sde" in name):
                continue  # k-diffusion knows no flows: its noise would have the wrong size there
            model = Model(model_sampling, flow)
            function = getattr(theirs, f"sample_{name}")
            k_runs[f"{kind}, {name}"] = run(function, name, model, sigmas, start)
    low, high = float(models["sd"].sigma_min), float(models["sd"].sigma_max)
    k_schedules = {
        name: getattr(theirs, f"get_sigmas_{name}")(10, low, high).tolist()
        for name in ("karras", "exponential", "polyexponential")
    } | {"vp": theirs.get_sigmas_vp(10).tolist()}
    for n in (10, 21):
        schedules[f"laplace, {n}"] = sampling.get_sigmas_laplace(n, low, high).tolist()
    about = (
        f"ComfyUI {sys.argv[2]} and k-diffusion 0.1.1.post1 in float64; see checks/golden_names.py"
    )
    out = {
        "about": about,
        "grids": {kind: schedules[f"{kind}, simple, {STEPS}"] for kind in models},
        "comfyui": runs,
        "k-diffusion": k_runs,
        "schedules": schedules,
        "k-diffusion schedules": k_schedules,
        "ends": [low, high],
    }
    (GOLDEN / "names.json").write_text(json.dumps(out, indent=0) + "\n")


if __name__ == "__main__":
    main()
