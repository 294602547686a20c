"""A tiny training run, by the scripts and by a configuration, and what it must leave behind."""

import dataclasses
import importlib.util
import pathlib

import numpy as np
import pytest

from edmjax import training

ROOT = pathlib.Path(__file__).parents[2]


def script(name, folder="scripts"):
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


TINY = [
    "--net.channels=[4]",
    "--net.embed_dim=8",
    "--optim.steps=4",
    "--optim.batch_size=4",
    "--scan_steps=2",
    "--sample.num_samples=10",
    "--sample.num_steps=3",
    "--sample.sampler=euler",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    script("train")(["--config", f"{ROOT}/configs/digits.yaml", f"--out={out}", *TINY])
    return out


def check_samples(directory, n):
    x = np.load(directory / "samples.npz")["x"]
    assert x.shape == (n, 8, 8, 1) and x.dtype == np.float32
    assert np.isfinite(x).all() and np.abs(x).max() <= 1
    assert (directory / "samples.png").read_bytes().startswith(b"\x89PNG")
    return x


def config(out, **changes):
    base = training.Config(
        out=str(out),
        net=training.NetConfig(channels=[4], embed_dim=8),
        optim=training.OptimConfig(steps=8, batch_size=4, learning_rate=1e-2, ema_decay=0.9),
        checkpoint_every=4,
        scan_steps=2,
    )
    return dataclasses.replace(base, **changes)
