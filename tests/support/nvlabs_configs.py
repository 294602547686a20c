"""Configurations of the networks that NVlabs published, by the names of their files.

What equals the default of the authors' classes is left out. Those of EDM are what its train.py has
for the commands in its readme.
"""

_DDPMPP = {
    "model_type": "SongUNet",
    "augment_dim": 9,
    "channel_mult": [2, 2, 2],
    "img_channels": 3,
    "img_resolution": 32,
    "dropout": 0.13,
}
_NCSN = {
    "channel_mult_noise": 2,
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "resample_filter": [1, 3, 3, 1],
}
_NCSNPP = _DDPMPP | _NCSN
_FACES = {"img_resolution": 64, "channel_mult": [1, 2, 2, 2]}
_EDM = {"_class_name": "EDMPrecond"}
_SONG = {"img_resolution": 32, "img_channels": 3}
_IMAGENET = {"model_type": "DhariwalUNet", "img_resolution": 64, "img_channels": 3}

_EDM2 = {"_class_name": "Precond", "label_dim": 1000, "img_resolution": 64, "img_channels": 3}
_LATENTS = _EDM2 | {"img_channels": 4}
_CHANNELS = {"xs": 128, "s": 192, "m": 256, "l": 320, "xl": 384, "xxl": 448}

CONFIGS = {
    "edm-cifar10-32x32-uncond-vp": _EDM | _DDPMPP,
    "edm-cifar10-32x32-cond-vp": _EDM | _DDPMPP | {"label_dim": 10},
    "edm-cifar10-32x32-uncond-ve": _EDM | _NCSNPP,
    "edm-cifar10-32x32-cond-ve": _EDM | _NCSNPP | {"label_dim": 10},
    "edm-ffhq-64x64-uncond-vp": _EDM | _DDPMPP | _FACES | {"dropout": 0.05},
    "edm-ffhq-64x64-uncond-ve": _EDM | _NCSNPP | _FACES | {"dropout": 0.05},
    "edm-afhqv2-64x64-uncond-vp": _EDM | _DDPMPP | _FACES | {"dropout": 0.25},
    "edm-afhqv2-64x64-uncond-ve": _EDM | _NCSNPP | _FACES | {"dropout": 0.25},
    "edm-imagenet-64x64-cond-adm": _EDM | _IMAGENET | {"label_dim": 1000, "use_fp16": True},
    "baseline-cifar10-32x32-uncond-vp": {"_class_name": "VPPrecond"} | _SONG,
    "baseline-cifar10-32x32-uncond-ve": {"_class_name": "VEPrecond"} | _SONG | _NCSN,
    "baseline-imagenet-64x64-cond-adm": {"_class_name": "iDDPMPrecond"}
    | _IMAGENET
    | {"label_dim": 1000},
    "edm2-img512-xs-uncond": _LATENTS | {"model_channels": 128, "label_dim": 0},
    **{f"edm2-img512-{size}": _LATENTS | {"model_channels": n} for size, n in _CHANNELS.items()},
    # There is no xxl for 64 pixels.
    **{
        f"edm2-img64-{size}": _EDM2 | {"model_channels": n}
        for size, n in _CHANNELS.items()
        if size != "xxl"
    },
}
