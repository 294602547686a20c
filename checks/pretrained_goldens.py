"""Writes what diffusers computes with redrawn weights: tests/pretrained/golden.

    pip install --group reference
    python checks/pretrained_goldens.py [CASE ...]

A golden holds a configuration, inputs and outputs, and no weights: every parameter and buffer is
redrawn from the generator of its name (`support.pretrained.redrawn`) and loaded by
`load_state_dict`. "out" is computed in float64, "out32" in float32. The reference computes the
sines and cosines of timesteps, and the places of a DiT's patches, in float32 whatever the dtype of
the network: for "out" they are replaced by the same formulas in float64.
"""

import json
import math
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import diffusers
import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from diffusers.models import embeddings
from support.pretrained import GOLDEN, normal, redrawn

_in_float32 = embeddings.get_timestep_embedding

# ---- the cases: class, options, and the shapes of what the network is given

_UNET = dict(
    sample_size=8,
    in_channels=3,
    out_channels=3,
    block_out_channels=[8, 16],
    layers_per_block=1,
    down_block_types=["DownBlock2D", "AttnDownBlock2D"],
    up_block_types=["AttnUpBlock2D", "UpBlock2D"],
    norm_num_groups=4,
    attention_head_dim=8,
)

_SD1 = dict(
    sample_size=8,
    block_out_channels=[8, 16],
    layers_per_block=1,
    down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
    norm_num_groups=4,
    cross_attention_dim=6,
    attention_head_dim=2,
)
_SDXL = _SD1 | dict(
    down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
    layers_per_block=2,
    transformer_layers_per_block=[1, 3],
    attention_head_dim=[2, 4],
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=6,
    projection_class_embeddings_input_dim=5 + 6 * 6,
)
_KL = dict(
    block_out_channels=[8, 16],
    down_block_types=["DownEncoderBlock2D"] * 2,
    up_block_types=["UpDecoderBlock2D"] * 2,
    norm_num_groups=4,
    sample_size=8,
)
_DIT = dict(
    num_attention_heads=2,
    attention_head_dim=8,
    in_channels=4,
    out_channels=8,
    num_layers=2,
    sample_size=8,
    num_embeds_ada_norm=5,
)

CASES: dict[str, tuple[str, dict]] = {
    "unet2d_ddpm": (
        "UNet2DModel",
        _UNET
        | dict(
            downsample_padding=0,
            freq_shift=1,
            flip_sin_to_cos=False,
            norm_eps=1e-6,
            attention_head_dim=None,
        ),
    ),
    "unet2d_default": ("UNet2DModel", _UNET | dict(layers_per_block=2, sample_size=[8, 12])),
    "unet2d_options": (
        "UNet2DModel",
        _UNET
        | dict(
            center_input_sample=True,
            time_embedding_dim=24,
            mid_block_scale_factor=math.sqrt(2),
            act_fn="mish",
            attn_norm_num_groups=2,
            norm_eps=1e-2,
            num_class_embeds=5,
            out_channels=6,
        ),
    ),
    "unet2d_resnet": (
        "UNet2DModel",
        _UNET
        | dict(
            block_out_channels=[8, 16, 16],
            down_block_types=["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
            downsample_type="resnet",
            upsample_type="resnet",
            resnet_time_scale_shift="scale_shift",
            class_embed_type="timestep",
            attention_head_dim=4,
        ),
    ),
    "unet2d_plain": (
        "UNet2DModel",
        _UNET
        | dict(
            down_block_types=["DownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "UpBlock2D"],
            add_attention=False,
            class_embed_type="identity",
            act_fn="gelu",
        ),
    ),
    "unet2d_no_middle": ("UNet2DModel", _UNET | dict(mid_block_type=None, act_fn="relu")),
    # The kinds of Stable Diffusion 1.x, 2.x, SDXL and its refiner.
    "condition_sd1": ("UNet2DConditionModel", _SD1),
    "condition_sd2": (
        "UNet2DConditionModel",
        _SD1 | dict(use_linear_projection=True, attention_head_dim=[1, 2], upcast_attention=True),
    ),
    "condition_sdxl": ("UNet2DConditionModel", _SDXL),
    "condition_refiner": (
        "UNet2DConditionModel",
        _SDXL
        | dict(
            block_out_channels=[8, 16, 16],
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            transformer_layers_per_block=2,
            attention_head_dim=[2, 2, 4],
            projection_class_embeddings_input_dim=5 + 5 * 6,
        ),
    ),
    "condition_options": (
        "UNet2DConditionModel",
        _SD1
        | dict(
            sample_size=[7, 10],
            center_input_sample=True,
            flip_sin_to_cos=False,
            freq_shift=1,
            layers_per_block=[1, 2],
            downsample_padding=0,
            mid_block_scale_factor=math.sqrt(2),
            act_fn="gelu",
            norm_num_groups=2,
            norm_eps=1e-3,
            cross_attention_dim=[6, 6],
            transformer_layers_per_block=[1, 2],
            reverse_transformer_layers_per_block=[1, 2],
            time_embedding_dim=20,
            time_embedding_act_fn="silu",
            timestep_post_act="mish",
            conv_in_kernel=1,
            conv_out_kernel=5,
            num_class_embeds=5,
            resnet_time_scale_shift="scale_shift",
        ),
    ),
    "condition_projection": (
        "UNet2DConditionModel",
        _SD1 | dict(class_embed_type="projection", projection_class_embeddings_input_dim=7),
    ),
    "condition_simple": (
        "UNet2DConditionModel",
        _SD1
        | dict(
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=7,
            mid_block_type=None,
        ),
    ),
    "condition_timestep": (
        "UNet2DConditionModel",
        _SD1 | dict(class_embed_type="timestep", act_fn="mish"),
    ),
    "kl_sd": ("AutoencoderKL", _KL),
    "kl_options": (
        "AutoencoderKL",
        _KL
        | dict(
            in_channels=2,
            out_channels=2,
            layers_per_block=2,
            latent_channels=3,
            norm_num_groups=2,
            act_fn="gelu",
            use_quant_conv=False,
            use_post_quant_conv=False,
            mid_block_add_attention=False,
            shift_factor=0.1,
        ),
    ),
    "dit_xl": ("DiTTransformer2DModel", _DIT),
    "dit_options": (
        "DiTTransformer2DModel",
        _DIT
        | dict(
            out_channels=None,
            attention_bias=False,
            patch_size=4,
            activation_fn="geglu",
            norm_elementwise_affine=True,
            norm_eps=1e-3,
        ),
    ),
    "dit_gelu": ("DiTTransformer2DModel", _DIT | dict(activation_fn="gelu")),
}


# ---- runs of DDIMPipeline: the network, the scheduler, the call

_PLAIN = dict(clip_sample=False)
_SD = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)

PIPELINES: dict[str, tuple[str, dict, dict]] = {
    "ddim_clip": ("unet2d_ddpm", {}, dict(eta=0.0, num_inference_steps=10)),
    "ddim_clip_own": (
        "unet2d_ddpm",
        {},
        dict(eta=0.0, num_inference_steps=10, use_clipped_model_output=True),
    ),
    "ddim_eta_clip_own": (
        "unet2d_ddpm",
        {},
        dict(eta=1.0, num_inference_steps=10, use_clipped_model_output=True),
    ),
    "ddim_plain": ("unet2d_ddpm", _PLAIN, dict(eta=0.0, num_inference_steps=10)),
    "ddim_eta": ("unet2d_ddpm", {}, dict(eta=1.0, num_inference_steps=10)),
    "ddim_eta_plain": ("unet2d_ddpm", _PLAIN, dict(eta=1.0, num_inference_steps=10)),
    "ddim_sd": (
        "unet2d_ddpm",
        _SD | dict(set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction"),
        dict(eta=0.0, num_inference_steps=20),
    ),
    "ddim_threshold": (
        "unet2d_ddpm",
        dict(thresholding=True, sample_max_value=2.0, timestep_spacing="trailing"),
        dict(eta=0.0, num_inference_steps=10),
    ),
    "ddim_zero_snr": (
        "unet2d_ddpm",
        dict(
            rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
        ),
        dict(eta=0.0, num_inference_steps=10),
    ),
}


# ---- grids: the scheduler, its options, the number of steps

_ZERO = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing")
_OFFSET = dict(timestep_spacing="leading", steps_offset=1)

GRIDS: list[tuple[str, dict, int]] = [
    ("DDIMScheduler", dict(_ZERO), 10),
    ("DDIMScheduler", dict(_OFFSET, set_alpha_to_one=False), 30),
    ("DDIMScheduler", dict(timestep_spacing="linspace"), 30),
    ("DDIMScheduler", dict(trained_betas=[0.01, 0.02, 0.03, 0.05, 0.1], num_train_timesteps=5), 5),
    ("DDPMScheduler", dict(beta_schedule="squaredcos_cap_v2"), 50),
    ("DDPMScheduler", dict(beta_schedule="sigmoid"), 7),
    ("EulerDiscreteScheduler", dict(_SD), 30),
    ("EulerDiscreteScheduler", dict(_SD, **_OFFSET), 30),
    ("EulerDiscreteScheduler", dict(_SD, timestep_spacing="trailing"), 7),
    ("EulerDiscreteScheduler", dict(_SD, **_ZERO), 10),
    ("EulerDiscreteScheduler", dict(_SD, use_karras_sigmas=True), 10),
    ("EulerDiscreteScheduler", dict(_SD, use_karras_sigmas=True, **_OFFSET), 10),
    ("EulerDiscreteScheduler", dict(_SD, use_exponential_sigmas=True), 10),
    ("EulerDiscreteScheduler", dict(_SD, final_sigmas_type="sigma_min", **_OFFSET), 10),
    ("EulerAncestralDiscreteScheduler", dict(_SD), 10),
    ("DPMSolverMultistepScheduler", dict(_SD), 20),
    ("DPMSolverMultistepScheduler", dict(_SD, **_OFFSET), 20),
    ("DPMSolverMultistepScheduler", dict(_SD, use_karras_sigmas=True), 20),
    ("DPMSolverMultistepScheduler", dict(_SD, timestep_spacing="trailing"), 20),
    ("DPMSolverMultistepScheduler", dict(_SD, final_sigmas_type="sigma_min"), 20),
    ("UniPCMultistepScheduler", dict(_SD), 20),
    ("UniPCMultistepScheduler", dict(_SD, **_OFFSET), 20),
    ("DEISMultistepScheduler", dict(_SD), 20),
]


def write_grids() -> None:
    """The levels that schedulers visit, with their end, and the timesteps."""
    found = []
    for name, options, n in GRIDS:
        own = {key: value for key, value in options.items() if key != "clip_sample"}
        made = getattr(diffusers, name)(**own)
        made.set_timesteps(n)
        times = made.timesteps.tolist()
        if hasattr(made, "sigmas"):
            sigmas = made.sigmas.double().tolist()
        else:
            left = made.alphas_cumprod.double()[made.timesteps]
            last = float(getattr(made, "final_alpha_cumprod", 1.0))
            sigmas = [*((1 - left) / left).sqrt().tolist(), ((1 - last) / last) ** 0.5]
        config = {"_class_name": name, **options}
        found.append({"config": config, "n": n, "timesteps": times, "sigmas": sigmas})
    (GOLDEN / "grids.json").write_text(json.dumps(found))
    print(f"grids: {(GOLDEN / 'grids.json').stat().st_size / 1000:.1f} kB")


def main(names: list[str]) -> None:
    if not names or "grids" in names:
        write_grids()
    for case, pipeline in PIPELINES.items():
        if not names or case in names:
            write_pipeline(case, *pipeline)
    for case, (kind, options) in CASES.items():
        if not names or case in names:
            write(case, kind, options)


def write(case: str, kind: str, options: dict) -> None:
    torch.manual_seed(0)
    net = getattr(diffusers, kind)(**options).eval()
    config = {"_class_name": kind, "_diffusers_version": diffusers.__version__, **options}
    inputs = dict(inputs_of(case, kind, net))
    arrays: dict[str, Any] = {"config": np.array(json.dumps(config)), **inputs}
    for name, dtype in (("out", torch.float64), ("out32", torch.float32)):
        load(net, dtype)
        exact(net, dtype is torch.float64)
        for key, value in outputs(kind, net, inputs, dtype).items():
            arrays[key.replace("out", name)] = value
    np.savez_compressed(GOLDEN / f"{case}.npz", **arrays)
    size = (GOLDEN / f"{case}.npz").stat().st_size
    print(f"{case}: {size / 1000:.1f} kB, sd of the output {arrays['out'].std():.3f}")
    assert size <= 300_000


def write_pipeline(case: str, network: str, scheduler: dict, call: dict) -> None:
    """A run of DDIMPipeline itself, in float64, with the noise handed over."""
    _, options = CASES[network]
    net = diffusers.UNet2DModel(**options).eval()
    load(net, torch.float64)
    exact(net, True)
    made = diffusers.DDIMScheduler(**scheduler)
    size = (2, options["in_channels"], *[options["sample_size"]] * 2)
    draws = normal(f"{case} noise", (call["num_inference_steps"] + 1, *size))
    given, results = iter(torch.tensor(draws)), []
    pipe = diffusers.DDIMPipeline(net, made)  # which makes a scheduler of its own
    pipe.set_progress_bar_config(disable=True)
    step = pipe.scheduler.step

    def recorded(*args, **kwargs):
        made_step = step(*args, **kwargs)
        results.append(made_step.prev_sample.numpy())
        return made_step

    pipe.scheduler.step = recorded
    for module in (diffusers.pipelines.ddim.pipeline_ddim, diffusers.schedulers.scheduling_ddim):
        module.randn_tensor = lambda shape, **_: next(given)
    images = pipe(batch_size=2, output_type="np", **call).images
    config = {"network": network, "call": call}
    config["scheduler"] = {"_class_name": "DDIMScheduler", **made.config}
    arrays: dict[str, Any] = dict(noise=draws, out=results[-1], images=images)
    path = GOLDEN / f"{case}.npz"
    np.savez_compressed(path, config=np.array(json.dumps(config)), **arrays)
    print(f"{case}: {path.stat().st_size / 1000:.1f} kB, sd {results[-1].std():.3f}")


def load(net: torch.nn.Module, dtype: torch.dtype) -> None:
    """Redraws every array of `net` in `dtype`."""
    net.to(dtype)
    state = net.state_dict()
    drawn = {
        name: torch.tensor(redrawn(name, tuple(a.shape)), dtype=dtype) for name, a in state.items()
    }
    net.load_state_dict(drawn, strict=True)


def exact(net: torch.nn.Module, yes: bool) -> None:
    """Sines and cosines in float64, or as the reference has them."""
    embeddings.get_timestep_embedding = _in_float64 if yes else _in_float32
    patches = getattr(net, "pos_embed", None)
    if patches is not None:
        side, size = patches.height, patches.pos_embed.shape[-1]
        places = embeddings.get_2d_sincos_pos_embed(size, side, base_size=side, output_type="pt")
        patches.pos_embed = (places if yes else places.float())[None]


def _in_float64(
    timesteps,
    embedding_dim,
    flip_sin_to_cos=False,
    downscale_freq_shift=1,
    scale=1,
    max_period=10000,
):
    half = embedding_dim // 2
    exponents = -math.log(max_period) * torch.arange(half, dtype=torch.float64)
    angles = timesteps[:, None].double() * torch.exp(exponents / (half - downscale_freq_shift))
    waves = [torch.sin(scale * angles), torch.cos(scale * angles)]
    made = torch.cat(waves[::-1] if flip_sin_to_cos else waves, dim=-1)
    return torch.nn.functional.pad(made, (0, embedding_dim % 2))


def inputs_of(case: str, kind: str, net: torch.nn.Module) -> Iterator[tuple[str, np.ndarray]]:
    """Points of two samples, their timesteps, and the condition by diffusers' own keys."""
    config = net.config
    sides = config.sample_size
    sides = (sides, sides) if isinstance(sides, int) else tuple(sides)
    if kind == "AutoencoderKL":
        yield "x", normal(f"{case} x", (2, config.in_channels, *sides))
        yield "z", normal(f"{case} z", (2, config.latent_channels, 4, 4))
        return
    yield "x", normal(f"{case} x", (2, config.in_channels, *sides))
    yield "t", np.array([3, 721])
    embed = config.get("time_embedding_dim") or 4 * (config.get("block_out_channels") or [0])[0]
    vector = config.get("projection_class_embeddings_input_dim")
    if config.get("class_embed_type") == "identity":
        yield "class_labels", normal(f"{case} labels", (2, embed))
    elif "projection" in (config.get("class_embed_type") or ""):
        yield "class_labels", normal(f"{case} labels", (2, vector))
    elif "DiT" in kind or config.get("class_embed_type") or config.get("num_class_embeds"):
        yield "class_labels", np.array([4, 1])
    if "Condition" in kind:
        yield "encoder_hidden_states", normal(f"{case} words", (2, 3, 6))
    if config.get("addition_embed_type"):
        times = config.addition_time_embed_dim
        yield "text_embeds", normal(f"{case} text", (2, vector % times))
        yield (
            "time_ids",
            np.array([[64, 48, 3, 0, 32, 6], [100, 7, 0, 0, 1, 2]])[:, : vector // times],
        )


def outputs(kind: str, net: torch.nn.Module, inputs: dict, dtype: torch.dtype) -> dict:
    given = {name: torch.tensor(value) for name, value in inputs.items()}
    given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in given.items()}
    x, t = given.pop("x"), given.pop("t", None)
    added = {key: given.pop(key) for key in ("text_embeds", "time_ids") if key in given}
    given |= {"added_cond_kwargs": added} if added else {}
    with torch.no_grad():
        if kind == "AutoencoderKL":
            latent = net.encode(x).latent_dist
            moments = torch.cat([latent.mean, latent.logvar], 1).numpy()
            return {"out": net.decode(given["z"]).sample.numpy(), "moments_out": moments}
        if kind == "DiTTransformer2DModel":
            return {"out": net(x, timestep=t, **given).sample.numpy()}
        return {"out": net(x, t, **given).sample.numpy()}


if __name__ == "__main__":
    main(sys.argv[1:])
