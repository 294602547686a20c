"""Reads the published numbers of learned solvers and writes edmjax/plans/published/*.json.

    python checks/published_plans.py REPOSITORIES

`REPOSITORIES` holds checkouts by these names, at the commits below:

    DyWeight    Westlake-AGI-Lab/DyWeight
    EPD         BeierZhu/EPD, branch EPD-Solver
    EPD++       BeierZhu/EPD, branch EPD-Solver++

Their tables are pickles. A pickle is never loaded here, as loading runs its code: `pickletools`
lists what it says, and the numbers of a tensor are the bytes that follow. The lists of the other
families are short and stand in this file, with the place that they are from.
"""

import io
import json
import pickletools
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).parents[1] / "edmjax" / "plans" / "published"

NETWORKS = {
    "cifar10": "EDM, CIFAR-10, 32 x 32, unconditional, VP (edm-cifar10-32x32-uncond-vp)",
    "ffhq": "EDM, FFHQ, 64 x 64, unconditional, VP (edm-ffhq-64x64-uncond-vp)",
    "afhqv2": "EDM, AFHQv2, 64 x 64, unconditional, VP (edm-afhqv2-64x64-uncond-vp)",
    "imagenet64": "EDM, ImageNet, 64 x 64, with classes, ADM (edm-imagenet-64x64-cond-adm)",
    "lsun-bedroom": "LDM, LSUN Bedroom, 256 x 256, latents, unconditional",
    "sd15": "Stable Diffusion 1.5, guidance 7.5",
    "sd1": "Stable Diffusion 1.x (the repository names no version)",
    "sd": "Stable Diffusion 1.5",
    "sdxl": "Stable Diffusion XL",
    "svd": "Stable Video Diffusion",
    "sd3-512": "Stable Diffusion 3 Medium at 512 x 512, guidance 4.5",
    "sd3-1024": "Stable Diffusion 3 Medium at 1024 x 1024, guidance 4.5",
    "flux": "FLUX.1-dev",
    "wan": "Wan 2.1",
}
SHORT = {"lsun_bedroom_ldm": "lsun-bedroom", "ms_coco": "sd15"}
NO_LICENCE = "none stated in the repository"


# Pickles.


def opcodes(pickled: bytes) -> list[tuple[pickletools.OpcodeInfo, Any, int]]:
    """What a pickle says: each operation, its argument and where it stands."""
    return [(op, arg, at or 0) for op, arg, at in pickletools.genops(io.BytesIO(pickled))]


def tensors_of(path: Path) -> dict[str, Any]:
    """The tensors and the plain values of a pickle, by the name that stands before each."""
    skipped = ("MEMOIZE", "BINPUT", "FRAME", "PROTO")
    read: list[tuple[str, Any]] = [(op.name, arg) for op, arg, _ in opcodes(path.read_bytes())]
    ops = [(name, arg) for name, arg in read if name not in skipped]
    internal = ("torch", "_rebuild", "_load", "cpu", "collections", "OrderedDict")
    found: dict[str, Any] = {}
    for k, (name, arg) in enumerate(ops):
        if name in ("BINBYTES", "SHORT_BINBYTES"):
            before = (a for n, a in reversed(ops[:k]) if n == "SHORT_BINUNICODE")
            called = next(a for a in before if not a.startswith(internal))
            found[called] = numbers_of(arg).reshape(shape_after(ops[k + 1 :]))
        elif name == "SHORT_BINUNICODE" and k + 1 < len(ops):
            following, value = ops[k + 1]
            if following.startswith(("BININT", "BINFLOAT", "SHORT_BINUNICODE")):
                found.setdefault(arg, value)
            elif following in ("NEWTRUE", "NEWFALSE"):
                found.setdefault(arg, following == "NEWTRUE")
    return found


def shape_after(ops: list[tuple[str, Any]]) -> list[int]:
    """The offset and then the shape are the next integers, before a tuple is closed."""
    integers: list[int] = []
    for name, arg in ops:
        if name.startswith("BININT"):
            integers.append(arg)
        elif integers and name.startswith("TUPLE"):
            return integers[1:]
    raise ValueError("The pickle has a tensor without a shape.")


def numbers_of(saved: bytes) -> np.ndarray:
    """The floats of one storage, as torch's old format has them: five pickles, a count, data."""
    at, kinds = 0, []
    for _ in range(5):
        ops = opcodes(saved[at:])
        kinds += [a for op, a, _ in ops if op.name == "GLOBAL" and "Storage" in a]
        at += ops[-1][2] + 1
    if kinds != ["torch FloatStorage"]:
        raise ValueError(f"The pickle holds {kinds}, not float32.")
    count = struct.unpack("<q", saved[at : at + 8])[0]
    return np.frombuffer(saved, "<f4", count, at + 8).astype(float)


# Levels.


def polynomial(steps: int, low: float, high: float, rho: float = 7.0) -> np.ndarray:
    """Karras et al. (2022), eq. 5, which does not go on to 0."""
    return np.linspace(high ** (1 / rho), low ** (1 / rho), steps) ** rho


def latent(steps: int, first: float, last: float) -> np.ndarray:
    """`steps` levels of a latent diffusion model, even in the time of its 1,000 steps."""
    betas = np.linspace(first**0.5, last**0.5, 1000) ** 2
    log_alpha = 0.5 * np.cumsum(np.log1p(-betas))
    t = np.interp(np.linspace(1, 1e-3, steps), np.linspace(0, 1, 1001)[1:], log_alpha)
    return np.sqrt(np.expm1(-2 * t))


def flow_times(steps: int, last: float, factor: float) -> np.ndarray:
    """`steps` times of a flow, even from 1 to `last` and then shifted."""
    u = np.linspace(1, last, steps)
    return factor * u / (1 + (factor - 1) * u)


# Families.


def dyweight(root: Path) -> dict[str, Any]:
    plans: dict[str, Any] = {}
    for path in sorted(root.glob("DyWeight/exps/*/*.pkl")):
        held = tensors_of(path)
        network = SHORT.get(held["dataset_name"], held["dataset_name"])
        steps, free = held["num_steps"], held["afs"]
        if network == "sd15":
            levels = latent(steps, 0.00085, 0.012)
            if held["schedule_type"] == "polynomial":
                levels = polynomial(steps, levels[-1], levels[0])
        elif network == "lsun-bedroom":
            levels = latent(steps, 0.0015, 0.0195)
        else:
            levels = polynomial(steps, held["sigma_min"], held["sigma_max"])
        # A pickle of the same run may hold the levels in float32: they must be these.
        if hasattr(held.get("t_steps"), "shape"):
            np.testing.assert_allclose(levels, held["t_steps"], rtol=1e-4)
        name = f"dyweight/{network}/{steps - 1 - free}"
        name = f"{name}b" if name in plans else name
        plans[name] = {
            "path": str(path.relative_to(root / "DyWeight")),
            "solver": "dyweight",
            "levels": levels.tolist(),
            "free_first_step": free,
            "weights": (held["hybrid_weights"] * held["mask"]).tolist(),
            "time_scale": held["t_scale"].tolist(),
        }
    return {
        "paper": "Zhao et al. (2026), DyWeight: Dynamic Gradient Weighting for Few-Step Diffusion "
        "Sampling, arXiv:2603.11607",
        "repository": "https://github.com/Westlake-AGI-Lab/DyWeight",
        "commit": "620534e32eab5235077a4a0545b8d59b7076fcec",
        "licence": NO_LICENCE,
        "plans": plans,
    }


def epd(root: Path) -> dict[str, Any]:
    plans: dict[str, Any] = {}
    for path in sorted(root.glob("EPD/exps/*/*.pkl")):
        held = tensors_of(path)
        network = SHORT.get(held["dataset_name"], held["dataset_name"])
        plugin = held["sampler_stu"] == "ipndm"
        entry = _directions(held, held["t_steps"].tolist(), held["max_order"] if plugin else 1)
        entry = {"path": str(path.relative_to(root / "EPD")), **entry}
        plans[f"{'epd-plugin' if plugin else 'epd'}/{network}/{_evaluations(held)}"] = entry
    return {
        "paper": "Zhu et al. (2025), Distilling Parallel Gradients for Fast ODE Solvers of "
        "Diffusion Models, arXiv:2507.14797",
        "repository": "https://github.com/BeierZhu/EPD",
        "commit": "94c00d0f18de0636153440df7f1a9a13b80df247",
        "licence": NO_LICENCE,
        "plans": plans,
    }


def epd_plus(root: Path) -> dict[str, Any]:
    plans: dict[str, Any] = {}
    for path in sorted(root.glob("EPD++/exps/*/*.pkl")):
        held, steps = tensors_of(path), tensors_of(path)["num_steps"]
        network, kind = path.parent.name, path.stem.rsplit("-", 1)[1]
        if network == "sd15":
            entry = _directions(held, latent(steps, 0.00085, 0.012).tolist(), 1)
        else:
            factor = np.exp(held["flowmatch_mu"]) if network == "flux" else 3.0
            entry = _directions(held, flow_times(steps, held["sigma_min"], factor).tolist(), 1)
            entry["process"] = "flow"
        family = "epd" if kind == "distilled" else "epd-rdpo"
        entry = {"path": str(path.relative_to(root / "EPD++")), **entry}
        plans[f"{family}/{network}/{_evaluations(held)}"] = entry
    return {
        "paper": "Wang et al. (2025), Parallel Diffusion Solver via Residual Dirichlet Policy "
        "Optimization, arXiv:2512.22796",
        "repository": "https://github.com/BeierZhu/EPD",
        "commit": "88a91f0914069afd700bfee1b590c7b61ceae240",
        "licence": NO_LICENCE,
        "plans": plans,
    }


def _evaluations(held: dict[str, Any]) -> int:
    steps = held["num_steps"] - 1
    return steps * (1 + held["num_points"]) - held["afs"]


def _directions(held: dict[str, Any], levels: list[float], order: int) -> dict[str, Any]:
    """The parameters that the published predictor forms from its raw ones."""

    def near_one(raw: np.ndarray, width: float) -> np.ndarray:
        return 2 / (1 + np.exp(-0.5 * raw)) * width + (1 - width)

    raw = np.exp(held["weight_s"] - held["weight_s"].max(axis=1, keepdims=True))
    return {
        "solver": "epd",
        "levels": levels,
        "free_first_step": held["afs"],
        "order": order,
        "shares": (1 / (1 + np.exp(-held["r_params"]))).tolist(),
        "weights": (raw / raw.sum(axis=1, keepdims=True)).tolist(),
        "slope_scale": near_one(held["scale_dir_params"], held["scale_dir"]).tolist(),
        "time_scale": near_one(held["scale_time_params"], held["scale_time"]).tolist(),
    }


def gits() -> dict[str, Any]:
    levels = [80, 10.9836, 3.8811, 1.584, 0.5666, 0.1698, 0.002]
    entry = {"path": "gits-main/README.md", "solver": "ipndm", "order": 4, "levels": levels}
    return {
        "paper": "Chen et al. (2024), On the Trajectory Regularity of ODE-based Diffusion "
        "Sampling, arXiv:2405.11326",
        "repository": "https://github.com/zju-pi/diff-sampler",
        "commit": "68d5ce427f261962b89ce3b0ee8f6b29f0577328",
        "licence": "Apache-2.0",
        "plans": {"gits/cifar10/6": entry},
    }


# utils.py of LD3, `PRIOR_TIMESTEPS`; each ends at the lowest level of Stable Diffusion.
LD3_DPMPP = """
14.6146 1.5286 0.4936 0.0292
14.6146 3.1131 1.0421 0.3811 0.0292
14.6146 4.3900 1.4467 0.6114 0.2255 0.0292
14.6146 4.3900 1.8073 0.8319 0.3811 0.1258 0.0292
14.6146 4.39 2.0267 1.0421 0.5712 0.3058 0.1258 0.0292
14.6146 5.9489 2.9183 1.5286 0.8811 0.4936 0.2667 0.1258 0.0292
14.6146 6.4477 3.1131 1.7083 1.0421 0.6526 0.4183 0.2667 0.1258 0.0292
14.6146 7.6188 4.0861 2.4211 1.4467 0.9324 0.6114 0.3811 0.2255 0.1258 0.0292
14.6146 7.0019 3.8092 2.2797 1.5286 1.0421 0.7391 0.4936 0.3437 0.2255 0.1258 0.0292
"""
LD3_IPNDM = """
14.6146 1.7083 0.532 0.0292
14.6146 3.1131 1.0421 0.3811 0.0292
14.6146 4.39 1.5286 0.6526 0.2667 0.0292
14.6146 4.7242 1.9132 0.9324 0.4557 0.1801 0.0292
14.6146 6.4477 2.2797 1.1629 0.6114 0.3058 0.1258 0.0292
14.6146 6.4477 2.7391 1.4467 0.8319 0.4936 0.2667 0.1258 0.0292
14.6146 6.4477 3.3251 1.9132 1.1629 0.7391 0.4557 0.2667 0.1258 0.0292
14.6146 5.9489 3.3251 2.0267 1.2969 0.8319 0.5712 0.3811 0.2255 0.1258 0.0292
14.6146 6.4477 3.8092 2.2797 1.5286 1.0421 0.7391 0.4936 0.3437 0.2255 0.1258 0.0292
"""


def ld3() -> dict[str, Any]:
    plans = {}
    for family, solver, text in (
        ("gits-dpmpp", "dpmpp_2m", LD3_DPMPP),
        ("gits-ipndm", "ipndm", LD3_IPNDM),
    ):
        for line in text.split("\n")[1:-1]:
            levels = [float(level) for level in line.split()]
            entry = {"path": "utils.py", "solver": solver, "order": 2, "levels": levels}
            if solver == "dpmpp_2m":
                entry["euler_at_final"] = True  # its `lower_order_final`, whatever the length
            plans[f"{family}/sd1/{len(levels) - 1}"] = entry
    return {
        "paper": "Tong et al. (2024), Learning to Discretize Denoising Diffusion ODEs, "
        "arXiv:2405.15506, where these levels of GITS are what LD3 is compared with",
        "repository": "https://github.com/vinhsuhi/LD3",
        "commit": "9e4a66f8238a45903e54b89a1f557df1e7de8afc",
        "licence": NO_LICENCE,
        "plans": plans,
    }


def align_your_steps() -> dict[str, Any]:
    lists = {
        "sd": [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.0],
        "sdxl": [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.0],
        "svd": [700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.0],
    }
    path = "src/diffusers/schedulers/scheduling_utils.py"
    return {
        "paper": "Sabour et al. (2024), Align Your Steps: Optimizing Sampling Schedules in "
        "Diffusion Models, arXiv:2404.14507",
        "repository": "https://github.com/huggingface/diffusers",
        "commit": "58eb52c0803ea9af3abec60841c2a093bdf1f951",
        "licence": "Apache-2.0",
        "plans": {
            f"ays/{network}/10": {"path": path, "solver": "dpmpp_2m", "order": 2, "levels": levels}
            for network, levels in lists.items()
        },
    }


def optimal_steps() -> dict[str, Any]:
    flux = [0.9968, 0.9886, 0.9819, 0.975, 0.966, 0.9471, 0.9158, 0.8287, 0.5512, 0.2808, 0.0]
    wan = [1.0, 0.997, 0.995, 0.993, 0.991, 0.989, 0.987, 0.985, 0.98, 0.975, 0.973, 0.968]
    wan += [0.96, 0.946, 0.927, 0.902, 0.864, 0.776, 0.539, 0.208, 0.0]
    path = "comfy_extras/nodes_optimalsteps.py"
    return {
        "paper": "Pei et al. (2025), Optimal Stepsize for Diffusion Sampling, arXiv:2503.21774",
        "repository": "https://github.com/comfyanonymous/ComfyUI",
        "commit": "36d3468fce685fd8f4548347067097282216d4a5",
        "licence": "GPL-3.0 (the file), MIT (the authors' repository, bebebe666/OptimalSteps, "
        "which has the method and not the numbers)",
        "plans": {
            f"optimal-steps/{network}/{len(times) - 1}": {
                "path": path,
                "solver": "euler",
                "process": "flow",
                "levels": times,
            }
            for network, times in (("flux", flux), ("wan", wan))
        },
    }


def main() -> None:
    root = Path(sys.argv[1])
    families = {
        "dyweight": dyweight(root),
        "epd": epd(root),
        "epd_plus": epd_plus(root),
        "gits": gits(),
        "ld3": ld3(),
        "ays": align_your_steps(),
        "optimal_steps": optimal_steps(),
    }
    OUT.mkdir(exist_ok=True)
    for file, family in families.items():
        for name, entry in family["plans"].items():
            entry["network"] = NETWORKS[name.split("/")[1]]
        head = {key: value for key, value in family.items() if key != "plans"}
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        plans = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in family["plans"].items()]
        text = "{\n" + ",\n".join([*lines, '"plans": {\n' + ",\n".join(plans) + "\n}"]) + "\n}\n"
        (OUT / f"{file}.json").write_text(text)
        print(f"{file}: {len(plans)} plans, {len(text)} bytes")


if __name__ == "__main__":
    main()
