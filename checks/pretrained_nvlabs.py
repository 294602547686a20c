"""Writes what the authors' code of EDM and EDM2 computes with redrawn weights.

    pip install --group reference
    python checks/pretrained_nvlabs.py EDM EDM2 [CASE ...]

EDM and EDM2 are checkouts of github.com/NVlabs/edm and github.com/NVlabs/edm2, whose licence is
CC BY-NC-SA 4.0: nothing of them is in this repository, and a golden (tests/pretrained/golden) holds
a configuration, inputs and outputs, and no weights. Every parameter and buffer is redrawn from the
generator of its name (`support.pretrained.redrawn`) and loaded by `load_state_dict`.

"out32" is computed by the code as it is. For "out" each `torch.float32` in the text of the networks
is `torch.float64`, and the default dtype is float64. These functions have casts to float32:
`EDMPrecond.forward` and those of VPPrecond, VEPrecond and iDDPMPrecond, `round_sigma`,
`AttentionOp.forward`, `PositionalEmbedding.forward`, `Conv2d.__init__` of the filter; and of EDM2
`normalize`, `MPFourier.forward`, `MPConv.forward` and `Precond.forward`.
"""

import importlib.util
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from support.pretrained import GOLDEN, normal, redrawn

_SMALL = dict(img_resolution=8, img_channels=3)
_SONG = _SMALL | dict(
    model_type="SongUNet",
    model_channels=8,
    channel_mult=[1, 2],
    channel_mult_emb=2,
    num_blocks=1,
    attn_resolutions=[4],
)
_NCSNPP = _SONG | dict(
    channel_mult=[1, 2, 2],
    embedding_type="fourier",
    channel_mult_noise=2,
    encoder_type="residual",
    resample_filter=[1, 3, 3, 1],
)
_ADM = _SMALL | dict(
    model_type="DhariwalUNet",
    model_channels=64,
    channel_mult=[1, 2],
    channel_mult_emb=1,
    num_blocks=1,
    attn_resolutions=[8, 4],
)
_EDM2 = _SMALL | dict(
    label_dim=5,
    model_channels=16,
    channel_mult=[1, 2],
    num_blocks=1,
    attn_resolutions=[4],
    channels_per_head=8,
)
_NARROW = dict(model_channels=8, channel_mult=[1, 2, 3], num_blocks=2, attn_resolutions=[])

# The class, the options, the levels of two samples, and their classes.
CASES: dict[str, tuple[str, dict, list[float], list[int] | None]] = {
    "edm_ddpmpp": ("EDMPrecond", _SONG | dict(augment_dim=9), [0.3, 20.0], None),
    "edm_classes": ("EDMPrecond", _SONG | dict(label_dim=5, num_blocks=2), [0.01, 2.0], [4, 1]),
    "edm_no_class": ("EDMPrecond", _SONG | dict(label_dim=5, label_dropout=0.1), [0.5, 5.0], None),
    "edm_ncsnpp": ("EDMPrecond", _NCSNPP | dict(sigma_data=0.7), [0.1, 30.0], None),
    "edm_skip": (
        "EDMPrecond",
        _NCSNPP | dict(encoder_type="skip", decoder_type="skip", num_blocks=2),
        [0.7, 60.0],
        None,
    ),
    "edm_adm": ("EDMPrecond", _ADM | dict(label_dim=5), [0.2, 8.0], [0, 3]),
    "edm_adm_plain": ("EDMPrecond", _ADM | _NARROW | dict(augment_dim=2), [0.2, 8.0], None),
    "vp_ddpmpp": ("VPPrecond", _SONG | dict(beta_d=18.0, beta_min=0.2), [1.5, 20.0], None),
    "ve_ncsnpp": ("VEPrecond", _NCSNPP | dict(label_dim=3), [0.3, 7.0], [2, 0]),
    "edm2_classes": ("Precond", _EDM2, [0.3, 12.0], [4, 1]),
    "edm2_no_class": ("Precond", _EDM2 | dict(clip_act=None, num_blocks=2), [0.02, 3.0], None),
    "edm2_options": (
        "Precond",
        _EDM2
        | dict(
            img_channels=4,
            sigma_data=0.7,
            logvar_channels=24,
            channel_mult=[1, 2, 2],
            channel_mult_noise=2,
            channel_mult_emb=3,
            attn_resolutions=[8, 4],
            label_balance=0.4,
            concat_balance=0.3,
            resample_filter=[1, 3, 3, 1],
            res_balance=0.4,
            attn_balance=0.2,
            clip_act=1.5,
        ),
        [0.5, 40.0],
        [0, 3],
    ),
    "edm2_plain": ("Precond", _EDM2 | dict(label_dim=0, attn_resolutions=[]), [0.2, 2.0], None),
    "iddpm_adm": ("iDDPMPrecond", _ADM | _NARROW | dict(M=20, label_dim=5), [0.3, 31.0], [1, 4]),
}


def main(edm: str, edm2: str, *names: str) -> None:
    sys.path.insert(0, edm2)  # for torch_utils and dnnlib, which are much the same in both
    codes = {
        "edm": pathlib.Path(edm) / "training" / "networks.py",
        "edm2": pathlib.Path(edm2) / "training" / "networks_edm2.py",
    }
    with tempfile.TemporaryDirectory() as folder:
        for case, (kind, options, sigmas, labels) in CASES.items():
            if not names or case in names:
                write(case, codes, kind, options, sigmas, labels, folder)
        if not names or "heun_edm" in names:
            write_sampler(codes, edm, folder)
        if not names or "nvlabs_grids" in names:
            write_grids(codes, edm, folder)


def code(path: pathlib.Path, folder: str, wide: bool) -> Any:
    """The module of a file, with float64 in place of float32 where `wide`."""
    torch.set_default_dtype(torch.float64 if wide else torch.float32)
    text = path.read_text()
    text = text.replace("torch.float32", "torch.float64") if wide else text
    return imported(text, f"{path.stem}_{'wide' if wide else 'plain'}", folder)


def imported(text: str, name: str, folder: str) -> Any:
    if name in sys.modules:
        return sys.modules[name]
    copy = pathlib.Path(folder) / f"{name}.py"
    copy.write_text(text)
    spec = importlib.util.spec_from_file_location(name, copy)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def made(codes: dict, kind: str, options: dict, folder: str, wide: bool) -> torch.nn.Module:
    """The network, in evaluation, with its arrays redrawn."""
    module = code(codes["edm2" if kind == "Precond" else "edm"], folder, wide)
    torch.manual_seed(0)
    net = getattr(module, kind)(**options).eval().to(torch.get_default_dtype())
    state = net.state_dict()
    drawn = {
        name: torch.tensor(redrawn(name, tuple(a.shape)), dtype=a.dtype)
        for name, a in state.items()
    }
    net.load_state_dict(drawn, strict=True)
    return net


def write(
    case: str, codes: dict, kind: str, options: dict, sigmas: Any, labels: Any, folder: str
) -> None:
    side, channels, classes = (
        options["img_resolution"],
        options["img_channels"],
        options.get("label_dim"),
    )
    sigma = np.array(sigmas)
    scale = np.sqrt(sigma**2 + 0.25)[:, None, None, None]
    x = scale * normal(f"{case} x", (len(sigma), channels, side, side))
    arrays: dict[str, Any] = dict(x=x, sigma=sigma)
    arrays["config"] = np.array(json.dumps({"_class_name": kind, **options}))
    if labels is not None:
        arrays["class_labels"] = np.array(labels)
    for name, wide in (("out", True), ("out32", False)):
        net = made(codes, kind, options, folder, wide)
        dtype = torch.get_default_dtype()
        rows = None if labels is None else torch.eye(classes, dtype=dtype)[labels]
        with torch.no_grad():
            given = torch.tensor(x, dtype=dtype), torch.tensor(sigma, dtype=dtype), rows
            if kind == "Precond":
                y, u = net(*given, return_logvar=True)
                arrays[name.replace("out", "logvar")] = u.flatten().numpy()
            else:
                y = net(*given)
        arrays[name] = y.numpy()
        assert arrays[name].dtype == (np.float64 if wide else np.float32)
    keep(case, arrays)
    net = made(codes, kind, options, folder, True)
    print(f"    float32 of the reference: {error(arrays['out32'], arrays['out']):.1e}")


def error(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def keep(case: str, arrays: dict[str, Any]) -> None:
    path = GOLDEN / f"{case}.npz"
    np.savez_compressed(path, **arrays)
    size = path.stat().st_size
    print(f"{case}: {size / 1000:.1f} kB, sd of the output {arrays['out'].std(axis=(1, 2, 3))}")
    assert size <= 300_000


def write_sampler(codes: dict, edm: str, folder: str) -> None:
    """The authors' own sampler, Algorithm 1, with 18 steps of a conditional network."""
    kind, options, _, labels = CASES["edm_classes"]
    net = made(codes, kind, options, folder, True)
    generate = imported((pathlib.Path(edm) / "generate.py").read_text(), "generate_edm", folder)
    noise = normal("heun_edm noise", (2, 3, 8, 8))
    with torch.no_grad():
        rows = torch.eye(5, dtype=torch.float64)[labels]
        out = generate.edm_sampler(net, torch.tensor(noise), rows, num_steps=18).numpy()
    config = np.array(json.dumps({"_class_name": kind, **options}))
    keep("heun_edm", dict(config=config, noise=noise, class_labels=np.array(labels), out=out))


def write_grids(codes: dict, edm: str, folder: str) -> None:
    """The levels that the authors' samplers visit, by the kind of the network."""
    generate = imported((pathlib.Path(edm) / "generate.py").read_text(), "generate_edm", folder)
    kinds = {"EDMPrecond": "edm", "VPPrecond": "vp", "VEPrecond": "ve", "iDDPMPrecond": "iddpm"}
    found = []
    for kind, discretization in kinds.items():
        for n in (5, 18):
            options = _SONG | ({} if kind != "iDDPMPrecond" else dict(M=1000))
            net = getattr(code(codes["edm"], folder, True), kind)(**options)
            seen: list[float] = []
            net.forward = lambda x, sigma, *_, seen=seen: (seen.append(float(sigma)), x)[1]
            how = dict(num_steps=n, solver="euler", discretization=discretization)
            generate.ablation_sampler(net, torch.ones(1, 3, 8, 8), **how)
            config = {"_class_name": kind, **options}
            own: dict[str, Any] = dict(config=config, n=n, sigmas=seen)
            own["ends"] = [net.sigma_min, min(net.sigma_max, 1e9)]
            own["u"] = net.u.tolist() if kind == "iDDPMPrecond" and n == 5 else None
            found.append(own)
    (GOLDEN / "nvlabs_grids.json").write_text(json.dumps(found))
    print(f"nvlabs_grids: {(GOLDEN / 'nvlabs_grids.json').stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
