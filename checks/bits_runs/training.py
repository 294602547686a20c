"""Short training runs of each network, and the samples that the commands draw."""

import csv
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bits_runs import adapter
from bits_runs.adapter import api
from bits_runs.registry import add, run

# Four steps of eight images; enough for warm-up, an average and a second call of the scan.
TINY = (
    "--data=digits",
    "--optim.steps=4",
    "--optim.batch_size=8",
    "--scan_steps=2",
    "--net.embed_dim=8",
    "--sample.num_samples=6",
    "--sample.num_steps=3",
    "--sample.chunk_size=4",
)
RUNS = {
    "unet": ("--net.name=unet", "--net.channels=[4,8]"),
    "unet_without_average": (
        "--net.name=unet",
        "--net.channels=[4]",
        "--sample.sampler=churn(euler, s_churn=10)",
        "--sample.schedule=karras(sigma_max=20)",
        "--optim.ema_decay=0",
    ),
    "unet_classes": (
        "--net.name=unet",
        "--net.channels=[4]",
        "--net.classes=true",
        "--loss.uncertainty=true",
        "--loss.stratified=true",
        "--optim.name=muon",
        "--optim.decay=linear",
        "--optim.ema_sigma_rel=[0.05,0.1]",
        "--checkpoint_every=2",
    ),
    "patch_unet": (
        "--net.name=patch_unet",
        "--net.channels=[4,8]",
        "--net.num_blocks=[2,1]",
        "--optim.weight_decay=0.01",
    ),
    "patch_unet_bfloat16": (
        "--net.name=patch_unet",
        "--net.channels=[4]",
        "--net.num_blocks=[1]",
        "--net.dtype=bfloat16",
    ),
    "score_net": (
        "--net.name=score_net",
        "--net.channels=[4,8]",
        "--loss.name=dsm",
        "--sample.schedule=karras(sigma_max=9.8)",
    ),
}
# What is trained is sampled from too, so all lies in one directory until this process ends.
_SCRATCH = tempfile.TemporaryDirectory()


@functools.cache
def trained(name: str) -> Path:
    """The directory of the run of this name, which the command trains."""
    out = Path(_SCRATCH.name) / name
    adapter.command("train", *TINY, *RUNS[name], f"--out={out}")
    return out


def files(directory: Path) -> dict[str, Any]:
    """The arrays that a command wrote: samples, weights, and losses as text."""
    found: dict[str, Any] = {}
    with np.load(directory / "samples.npz") as stored:
        found |= {name: stored[name] for name in stored}
    if (directory / "loss.csv").exists():
        found["losses"] = (directory / "loss.csv").read_text()
        found["weights"], _ = api.training.load_weights(directory)
    return found


for _name in RUNS:
    add(f"training/command/{_name}", lambda name=_name: files(trained(name)))

SAMPLES = {
    "default": ("unet", ()),
    "named": ("unet", ("--sampler", "dpmpp_2m", "--num-steps", "4")),
    "noisy": (
        "unet",
        ("--sampler", "churn(heun, s_churn=10)", "--schedule", "exponential", "--num-steps", "3"),
    ),
    "other_package": ("unet", ("--sampler", "DPM++ 2M Karras", "--num-steps", "3")),
    "nfe": ("unet", ("--nfe", "5")),
    "without_average": ("unet_without_average", ("--nfe", "4")),
    "label": ("unet_classes", ("--nfe", "3", "--label", "7")),
    "guidance": ("unet_classes", ("--num-steps", "3", "--guidance", "2.0")),
    "patch_unet": ("patch_unet", ("--sampler", "unipc", "--num-steps", "4")),
    "bfloat16": ("patch_unet_bfloat16", ("--nfe", "3")),
    "score_net": ("score_net", ("--schedule", "karras(sigma_max=9.8)", "--num-steps", "3")),
    "mesh": ("unet", ("--nfe", "3", "--mesh", "data=4")),
}


def drawn(run: str, options: tuple[str, ...]) -> Any:
    with tempfile.TemporaryDirectory() as out:
        adapter.command(
            "sample",
            *("--checkpoint", str(trained(run)), "--out", out),
            *("--num-samples", "6", "--chunk-size", "4", "--seed", "2"),
            *options,
        )
        return files(Path(out))


for _name, (_run, _options) in SAMPLES.items():
    add(f"training/sample/{_name}", drawn, _run, _options)


@run("training/sample/fitted_plan")
def fitted() -> Any:
    """A plan fitted by the command (a script once), and samples by it."""
    with tempfile.TemporaryDirectory() as out:
        path = Path(out) / "plan.json"
        adapter.script_or_command(
            "fit_plan.py",
            "fit-plan",
            *("--checkpoint", str(trained("unet")), "--nfe", "3", "--out", str(path)),
            *("--num-noises", "16", "--test-noises", "4", "--updates", "2", "--batch-size", "4"),
        )
        # The plan names the checkpoint, and its checksum covers that: numbers alone are compared.
        plan = json.loads(path.read_text())
        del plan["about"], plan["sha256"]
        return json.dumps(plan), drawn("unet", ("--plan", str(path)))


@run("training/resumed")
def resumed() -> Any:
    """A whole run, and the same run resumed from its checkpoint of step 2."""
    config = _config("resumed", steps=4, checkpoint_every=2)
    dataset = api.training.load_dataset("digits")
    _, whole = api.training.train(config, dataset, progress=False)
    shutil.rmtree(Path(config.out) / "checkpoint" / "4")
    _, again = api.training.train(config, dataset, progress=False)
    return whole, again


def _config(name: str, steps: int, **options: Any) -> Any:
    t = api.training
    return t.Config(
        out=str(Path(_SCRATCH.name) / name),
        net=t.NetConfig(name="unet", channels=[4], embed_dim=8),
        optim=t.OptimConfig(steps=steps, batch_size=8),
        scan_steps=2,
        **options,
    )


@run("training/mesh")
def on_a_mesh() -> Any:
    mesh = api.training.make_mesh("data=2,model=2")
    dataset = api.training.load_dataset("digits")
    _, params = api.training.train(_config("mesh", steps=2), dataset, mesh=mesh, progress=False)
    return {name: np.asarray(value) for name, value in params.items()}


@run("training/reconstructed_average")
def reconstructed() -> Any:
    arrays, _, error = api.training.reconstruct_ema(trained("unet_classes"), 0.15)
    return arrays, error


@run("training/batches")
def batches() -> Any:
    indices = [api.training.batch_indices(3, step, 16, 50) for step in range(5)]
    return indices, api.training.sample_labels(7, 10), api.training.sample_labels(5, 10, [3, 1])


@run("training/compare")
def compared() -> Any:
    """Errors and distances of the command that compares solvers, without its times."""
    with tempfile.TemporaryDirectory() as out:
        adapter.command(
            "compare",
            *("--out", out, "--problems", "P1", "--samples", "4", "--distance-samples", "32"),
            *("--samplers", "dpmpp_2m", "heun", "--budgets", "6", "--schedules", "karras"),
            *("--noisy-samplers", "ddpm", "--noisy-budgets", "6", "--tolerance-step", "7"),
            *("--adaptive", "--solvers", "Tsit5", "--forms", "theta"),
        )
        with open(Path(out) / "compare.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    timed = {i for i, name in enumerate(rows[0]) if "seconds" in name}
    return "\n".join(" ".join(v for i, v in enumerate(row) if i not in timed) for row in rows)
