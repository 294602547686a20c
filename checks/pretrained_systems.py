"""Writes what whole systems with redrawn weights sample: tests/pretrained/golden/system_*.

    pip install --group reference
    python checks/pretrained_systems.py [CASE ...]

A system is a network with its autoencoder under a sampler of torch's side. "system_sgm" is SDXL
under the sampler of its authors' package, as `support.sgm` has it; "system_pipeline" is diffusers'
own `StableDiffusionXLPipeline`, whose scheduler computes in float32; the others run plans, saved by
`checks/pretrained_plans.py`, with the runner of docs/plan_format.md. Noise is torch's, and is in
the golden; weights are redrawn as in `checks/pretrained_goldens.py`.
"""

import json
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from pretrained_goldens import CASES, exact, load
from support import sgm
from support.pretrained import GOLDEN, normal

DOCS = pathlib.Path(__file__).parents[1] / "docs"
STEPS, GUIDANCE = 40, 7.0
SCALING = 0.13025  # of SDXL's autoencoder
CHURN = dict(s_churn=6.0, s_tmin=0.3, s_tmax=999.0, s_noise=1.003)
EULER = dict(
    beta_schedule="scaled_linear",
    beta_start=0.00085,
    beta_end=0.012,
    timestep_spacing="leading",
    steps_offset=1,
    interpolation_type="linear",
    use_karras_sigmas=False,
)


def network(case: str, **options: Any) -> torch.nn.Module:
    """A network of `checks/pretrained_goldens.py` in float64, with sines in float64."""
    kind, own = CASES[case]
    net = getattr(diffusers, kind)(**own | options).eval()
    load(net, torch.float64)
    exact(net, True)
    return net


def config_of(net: Any) -> dict[str, Any]:
    return {"_class_name": type(net).__name__, **net.config}


def prompts() -> dict[str, np.ndarray]:
    """The conditions of both branches, as text encoders would make them, for two samples."""
    return {
        f"{branch}_{name}": value
        for branch, offset in (("cond", 0), ("uncond", 3))
        for name, value in (
            ("encoder_hidden_states", normal(f"{branch} words", (2, 3, 6))),
            ("text_embeds", normal(f"{branch} text", (2, 5))),
            ("time_ids", np.array([[16, 16, 0, 0, 16, 16]] * 2) + offset),
        )
    }


def branch(given: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(f"{name}_"): v for k, v in given.items() if k.startswith(f"{name}_")}


def noises(seed: int, number: int, shape: tuple[int, ...]) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((number, *shape), generator=generator).numpy()


# ---- networks as functions of NumPy arrays


def sdxl_net(unet: torch.nn.Module) -> sgm.Net:
    def net(x: np.ndarray, t: np.ndarray, cond: Any) -> np.ndarray:
        given = {key: torch.tensor(value) for key, value in cond.items()}
        words = given.pop("encoder_hidden_states")
        with torch.no_grad():
            return unet(
                torch.tensor(x), torch.tensor(t), words, added_cond_kwargs=given
            ).sample.numpy()

    return net


def decoded(vae: Any, z: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        images = vae.decode(torch.tensor(z) / vae.config.scaling_factor).sample
    return (images / 2 + 0.5).clamp(0, 1).numpy()


def continuous(net: Callable[..., np.ndarray], levels: np.ndarray) -> Callable[..., np.ndarray]:
    """`D(x; sigma)` of a network that predicts noise, with `log sigma` linear in its timestep."""

    def denoise(x: np.ndarray, sigma: float, *cond: Any) -> np.ndarray:
        t = np.interp(np.log(sigma), np.log(levels), np.arange(len(levels)))
        return x - sigma * net(x / np.sqrt(1 + sigma**2), np.full(len(x), t), *cond)

    return denoise


# ---- the systems


def system_sgm() -> dict[str, Any]:
    unet, vae = network("condition_sdxl"), network("kl_sd", scaling_factor=SCALING)
    given, noise = prompts(), noises(0, STEPS + 1, (2, 4, 8, 8))
    levels = sgm.table()
    denoise = sgm.discrete_denoiser(sdxl_net(unet), levels)
    guided = sgm.vanilla_cfg(denoise, GUIDANCE, branch(given, "cond"), branch(given, "uncond"))
    draws = iter(noise[1:].astype(np.float64))
    start = noise[0].astype(np.float64)
    z = sgm.euler_edm(guided, sgm.legacy_grid(STEPS, levels), start, draws, **CHURN)
    config = dict(unet=config_of(unet), vae=config_of(vae), steps=STEPS, guidance=GUIDANCE)
    config |= dict(churn=CHURN, scheduler={"_class_name": "EulerDiscreteScheduler", **EULER})
    return dict(config=config, noise=noise, latents=z, images=decoded(vae, z), **given)


def system_pipeline() -> dict[str, Any]:
    unet, vae = network("condition_sdxl"), network("kl_sd", scaling_factor=SCALING)
    scheduler = diffusers.EulerDiscreteScheduler(**EULER)
    pipe = diffusers.StableDiffusionXLPipeline(
        vae, None, None, None, None, unet, scheduler, add_watermarker=False
    )
    pipe.set_progress_bar_config(disable=True)
    given, noise = prompts(), noises(1, 1, (2, 4, 8, 8))
    sizes = [[int(v) for v in given[f"{name}_time_ids"][0]] for name in ("cond", "uncond")]

    def run(i: int, output_type: str) -> np.ndarray:
        words = {k: torch.tensor(v[i : i + 1]) for k, v in given.items()}
        return pipe(
            prompt_embeds=words["cond_encoder_hidden_states"],
            negative_prompt_embeds=words["uncond_encoder_hidden_states"],
            pooled_prompt_embeds=words["cond_text_embeds"],
            negative_pooled_prompt_embeds=words["uncond_text_embeds"],
            original_size=tuple(sizes[0][:2]),
            crops_coords_top_left=tuple(sizes[0][2:4]),
            target_size=tuple(sizes[0][4:]),
            negative_original_size=tuple(sizes[1][:2]),
            negative_crops_coords_top_left=tuple(sizes[1][2:4]),
            negative_target_size=tuple(sizes[1][4:]),
            height=16,
            width=16,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            latents=torch.tensor(noise[0, i : i + 1], dtype=torch.float64),
            output_type=output_type,
        ).images.numpy()

    # One sample at a time: in a batch the pipeline mixes the time ids of the two branches up, as it
    # repeats the pair where it repeats each of the prompts.
    results = {
        name: np.concatenate([run(i, kind) for i in range(2)])
        for name, kind in (("latents", "latent"), ("images", "pt"))
    }
    config = dict(unet=config_of(unet), vae=config_of(vae), steps=STEPS, guidance=GUIDANCE)
    config |= dict(scheduler={"_class_name": "EulerDiscreteScheduler", **EULER})
    return dict(config=config, noise=noise, **results, **given)


def runner() -> dict[str, Any]:
    """The names of the runner on the page of the file format."""
    text = (DOCS / "plan_format.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)
    return names


def sdxl_plan(how: str) -> dict[str, Any]:
    unet, vae = network("condition_sdxl"), network("kl_sd", scaling_factor=SCALING)
    given, page = prompts(), runner()
    plan = page["read"](GOLDEN / f"plan_sdxl_{how}.json")
    noise = noises(2, 1, (2, 4, 8, 8))
    denoise = continuous(sdxl_net(unet), sgm.table())
    guided = sgm.vanilla_cfg(denoise, GUIDANCE, branch(given, "cond"), branch(given, "uncond"))
    z = page["run"](plan, guided, plan["grid"][0] * noise[0].astype(np.float64))
    config = dict(unet=config_of(unet), vae=config_of(vae), guidance=GUIDANCE)
    config |= dict(scheduler={"_class_name": "EulerDiscreteScheduler", **EULER})
    return dict(config=config, noise=noise, latents=z, images=decoded(vae, z), **given)


def ddim_plan(how: str) -> dict[str, Any]:
    unet, page = network("unet2d_ddpm"), runner()
    scheduler = diffusers.DDIMScheduler()
    left = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))  # its betas, in float64
    levels = np.sqrt((1 - left) / left)

    def net(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return unet(torch.tensor(x), torch.tensor(t)).sample.numpy()

    inside = continuous(net, levels)
    plan = page["read"](GOLDEN / f"plan_ddim_{how}.json")
    noise = noises(3, 1, (2, 3, 8, 8))
    x = page["run"](
        plan,
        lambda x, sigma: np.clip(inside(x, sigma), -1, 1),
        plan["grid"][0] * noise[0].astype(np.float64),
    )
    config = dict(unet=config_of(unet))
    config |= dict(scheduler={"_class_name": "DDIMScheduler", **scheduler.config})
    return dict(config=config, noise=noise, images=x)


SYSTEMS: dict[str, Callable[[], dict[str, Any]]] = {
    "system_sgm": system_sgm,
    "system_pipeline": system_pipeline,
    "system_sdxl_recommended": lambda: sdxl_plan("recommended"),
    "system_sdxl_fitted": lambda: sdxl_plan("fitted"),
    "system_ddim_recommended": lambda: ddim_plan("recommended"),
    "system_ddim_fitted": lambda: ddim_plan("fitted"),
}


def main(names: list[str]) -> None:
    for case, make in SYSTEMS.items():
        if names and case not in names:
            continue
        arrays = make()
        path = GOLDEN / f"{case}.npz"
        config = np.array(json.dumps(arrays.pop("config")))
        np.savez_compressed(path, config=config, **arrays)
        size, result = path.stat().st_size, arrays.get("latents", arrays["images"])
        print(f"{case}: {size / 1000:.1f} kB, sd {result.std():.3f}, most {abs(result).max():.3f}")
        assert size <= 300_000


if __name__ == "__main__":
    main(sys.argv[1:])
