"""Configurations of networks that many use, as the files on huggingface.co have them.

What equals the default of diffusers is left out where it says nothing. The repositories are named,
and the copies on GitHub that the configurations were compared with, option by option.
"""

_CROSS_DOWN, _CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
_DDPM = {
    "_class_name": "UNet2DModel",
    "act_fn": "silu",
    "attention_head_dim": None,
    "center_input_sample": False,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "time_embedding_type": "positional",
}
_SD = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": [_CROSS_DOWN, _CROSS_DOWN, _CROSS_DOWN, "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", _CROSS_UP, _CROSS_UP, _CROSS_UP],
}
_SDXL = _SD | {
    "addition_embed_type": "text_time",
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": 256,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "sample_size": 128,
    "upcast_attention": None,
    "use_linear_projection": True,
}
_KL = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

CONFIGS = {
    # google/ddpm-cifar10-32. Two printed copies disagree: one has no attention_head_dim, for which
    # diffusers takes 8; the other has null, as the file of ddpm-cat-256 does.
    "ddpm-cifar10": _DDPM
    | {
        "block_out_channels": [128, 256, 256, 256],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "sample_size": 32,
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    },
    # google/ddpm-celebahq-256; the same as a printed copy of google/ddpm-cat-256
    "ddpm-celebahq": _DDPM
    | {
        "block_out_channels": [128, 128, 256, 256, 512, 512],
        "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
        "sample_size": 256,
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
    },
    # stable-diffusion-v1-5/stable-diffusion-v1-5, unet; copies: HDRJ-One/runwayml-stable-diffusion-
    # v1-5, bigdataai-lab/stable-diffusion-v1-5
    "sd15": _SD,
    # stabilityai/stable-diffusion-2-1, unet; copy: Vikas-2025/Hugging_face_sta_dif_2.1
    "sd21": _SD
    | {
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": 1024,
        "dual_cross_attention": False,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "sample_size": 96,
        "upcast_attention": True,
        "use_linear_projection": True,
    },
    # stabilityai/stable-diffusion-xl-base-1.0, unet; copy: HDRJ-One/stable-diffusion-xl-base-1.0
    "sdxl-base": _SDXL
    | {
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280],
        "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", _CROSS_DOWN, _CROSS_DOWN],
        "projection_class_embeddings_input_dim": 2816,
        "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": [_CROSS_UP, _CROSS_UP, "UpBlock2D"],
    },
    # stabilityai/stable-diffusion-xl-refiner-1.0, unet; no copy was found
    "sdxl-refiner": _SDXL
    | {
        "attention_head_dim": [6, 12, 24, 24],
        "block_out_channels": [384, 768, 1536, 1536],
        "cross_attention_dim": 1280,
        "down_block_types": ["DownBlock2D", _CROSS_DOWN, _CROSS_DOWN, "DownBlock2D"],
        "projection_class_embeddings_input_dim": 2560,
        "transformer_layers_per_block": 4,
        "up_block_types": ["UpBlock2D", _CROSS_UP, _CROSS_UP, "UpBlock2D"],
    },
    # stable-diffusion-v1-5/stable-diffusion-v1-5, vae; copies: HDRJ-One/runwayml-stable-diffusion-
    # v1-5, bigdataai-lab/stable-diffusion-v1-5
    "sd-vae": _KL | {"sample_size": 512},
    # stabilityai/stable-diffusion-xl-base-1.0, vae; copy: HDRJ-One/stable-diffusion-xl-base-1.0
    "sdxl-vae": _KL | {"force_upcast": True, "sample_size": 1024, "scaling_factor": 0.13025},
    # facebook/DiT-XL-2-256, transformer; as a printed copy of DiT-XL-2-512, whose sample_size is 64
    "dit-xl": {
        "_class_name": "Transformer2DModel",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": 72,
        "cross_attention_dim": None,
        "dropout": 0.0,
        "in_channels": 4,
        "norm_elementwise_affine": False,
        "norm_num_groups": 32,
        "norm_type": "ada_norm_zero",
        "num_attention_heads": 16,
        "num_embeds_ada_norm": 1000,
        "num_layers": 28,
        "num_vector_embeds": None,
        "only_cross_attention": False,
        "out_channels": 8,
        "patch_size": 2,
        "sample_size": 32,
        "upcast_attention": False,
        "use_linear_projection": False,
    },
}

# What files say that their scheduler does not read is kept here: files keep it too.
_SD_BETAS = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
SCHEDULERS = {
    # google/ddpm-cifar10-32, from a printed copy
    "ddpm-cifar10": {
        "_class_name": "DDPMScheduler",
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "clip_sample": True,
        "num_train_timesteps": 1000,
        "trained_betas": None,
        "variance_type": "fixed_large",
    },
    # the copies of the networks above
    "sd15": _SD_BETAS | {"_class_name": "PNDMScheduler"},
    "sd21": _SD_BETAS | {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"},
    "sdxl-base": _SD_BETAS
    | {
        "_class_name": "EulerDiscreteScheduler",
        "interpolation_type": "linear",
        "prediction_type": "epsilon",
        "sample_max_value": 1.0,
        "timestep_spacing": "leading",
        "use_karras_sigmas": False,
    },
}
