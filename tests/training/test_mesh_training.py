"""Meshes: what lies where, the same numbers on 1, 2 and 8 devices and 2 processes, restored on any.

The quick tests run on the four CPU devices that every test has; the slow ones start processes of
their own (mesh_worker.py) with as many devices as they need, connected over the loopback.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import random
from jax.sharding import Mesh
from support.mesh_worker import tiny
from support.runs import config, script

from edmjax import training
from edmjax._common.mesh import split_axis
from edmjax.nn import functional
from edmjax.training.checkpoints import Checkpoints
from edmjax.training.mesh import load_batches
from edmjax.training.outputs import read_losses

ROOT = pathlib.Path(__file__).parents[2]
WORKER = ROOT / "tests" / "support" / "mesh_worker.py"
MESHES = ["data=1", "data=2", "model=2", "data=8", "data=4,model=2"]


@pytest.fixture(scope="module")
def digits():
    return training.load_dataset("digits")


@pytest.fixture(scope="module")
def state():
    options = tiny("nowhere")
    apply, params = functional(training.build_net(options.net, (8, 8, 1), rngs=nnx.Rngs(0)))
    optimizer = training.build_optimizer(options.optim)
    return training.init_state(apply, params, optimizer, random.key(0))


@pytest.mark.parametrize("text", ["data=4", "data=2,model=2", " model = 2, data = 2 ", "model=4"])
def test_a_mesh_is_read_from_text(text):
    mesh = training.make_mesh(text)
    sizes = dict(re.findall(r"(\w+) ?= ?(\d)", text))
    assert mesh.axis_names == ("data", "model") and mesh.size == 4
    assert mesh.shape["data"] == int(sizes.get("data", 1))
    assert mesh.shape["model"] == int(sizes.get("model", 1))
    assert training.make_mesh().shape["data"] == 4


@pytest.mark.parametrize("text", ["data=2", "data=8", "data=3,model=2"])
def test_a_mesh_of_another_number_of_devices_is_a_sentence(text):
    with pytest.raises(ValueError, match=r"is of \d devices, and there are 4: the product"):
        training.make_mesh(text)


@pytest.mark.parametrize(
    "text", ["", "4", "data=0", "data=-4", "data=2,data=2", "batch=4", "data=x"]
)
def test_what_is_no_mesh_is_a_sentence(text):
    with pytest.raises(ValueError, match="A mesh is written data=4,model=2"):
        training.make_mesh(text)


def test_the_largest_axis_that_divides_is_split():
    assert split_axis((3, 3, 8, 16), 2) == 3
    assert split_axis((3, 3, 16, 8), 2) == 2
    assert split_axis((3, 3, 8, 8), 4) == 3  # the last of equals
    assert split_axis((4, 9), 2) == 0
    assert split_axis((3, 5), 2) is None and split_axis((), 2) is None


def test_a_device_holds_half_of_a_parameter_of_its_average_and_its_moments(state):
    mesh = training.make_mesh("data=2,model=2")
    with pytest.warns(training.TrainingWarning, match=r"1 of \d+ parameters .*last\.bias \[1\]\."):
        placed = training.shard_state(state, mesh)
    adam = next(s for s in jax.tree.leaves(placed.opt_state, is_leaf=has_moments) if has_moments(s))
    checked = 0
    for name, whole in state.params.items():
        part = whole.nbytes if name == "last.bias" else whole.nbytes // 2
        for array in (placed.params[name], placed.ema[0][name], adam.mu[name], adam.nu[name]):
            assert [shard.data.nbytes for shard in array.addressable_shards] == 4 * [part]
            checked += 1
    assert checked == 4 * len(state.params)
    jax.tree.map(same, placed, state)


@pytest.mark.filterwarnings("ignore:1 of")
@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_checkpoint_of_four_devices_is_read_onto_fewer(devices, state, tmp_path):
    with Checkpoints(tmp_path / "checkpoint", {}) as checkpoints:
        checkpoints.save(training.shard_state(state, training.make_mesh("data=2,model=2")))
    zeros = jax.tree.map(jnp.zeros_like, state._replace(key={}))._replace(key=random.key(9))
    some = np.array(jax.devices()[:devices]).reshape(1, devices)
    like = zeros if devices == 1 else training.shard_state(zeros, Mesh(some, ("data", "model")))
    with Checkpoints(tmp_path / "checkpoint", {}) as checkpoints:
        restored = checkpoints.restore(like)
    assert restored is not None
    jax.tree.map(same, restored, state)
    jax.tree.map(lambda got, asked: got.sharding == asked.sharding or pytest.fail(), restored, like)


def has_moments(leaf: Any) -> bool:
    return hasattr(leaf, "mu")


def same(one, other):
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = random.key_data(one), random.key_data(other)
    np.testing.assert_array_equal(one, other)


def test_a_batch_is_split_and_only_its_slices_are_loaded():
    mesh = training.make_mesh("data=2,model=2")
    data, seen = np.arange(20.0).reshape(10, 2), []
    indices = np.array([[3, 1, 4, 1], [5, 9, 2, 6]])

    def rows(chosen):
        seen.append(chosen.shape)
        return data[chosen]

    loaded = load_batches(rows, indices, mesh)
    np.testing.assert_array_equal(loaded, data[indices])
    assert {shard.data.shape for shard in loaded.addressable_shards} == {(2, 2, 2)}
    assert set(seen) <= {(2, 2), (0, 4)}  # never the whole batch

    batch = training.shard_batch({"x": data[:8], "keys": random.split(random.key(0), 8)}, mesh)
    assert {shard.data.shape for shard in batch["x"].addressable_shards} == {(4, 2)}
    assert {shard.data.shape for shard in batch["keys"].addressable_shards} == {(4,)}
    same(batch["keys"], random.split(random.key(0), 8))
    with pytest.raises(ValueError, match="A batch of 7 does not divide by the mesh's data=2"):
        training.shard_batch(data[:7], mesh)


def test_a_batch_that_does_not_divide_is_a_sentence_before_anything(digits, tmp_path):
    odd = config(tmp_path / "run", optim=training.OptimConfig(steps=8, batch_size=6))
    with pytest.raises(ValueError, match=r"batch of 6 .*data=4: .*multiple of 4, such as 8"):
        training.train(odd, digits, mesh=training.make_mesh("data=4"), progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["--mesh=data=3"], "is of 3 devices, and there are 4"),
        (["--mesh=rows=4"], "A mesh is written data=4,model=2"),
        (["--coordinator=localhost:1"], "belong together"),
        (["--num-processes=2", "--process-id=0"], "belong together"),
        (["--coordinator=here", "--num-processes=2", "--process-id=0"], "is HOST:PORT"),
        (
            ["--coordinator=a:1", "--num-processes=2", "--process-id=2"],
            "must be from 0 to 1, got 2",
        ),
    ],
)
def test_wrong_options_are_sentences(arguments, phrase, tmp_path):
    with pytest.raises(SystemExit, match=phrase):
        script("train")([f"--out={tmp_path}/run", *arguments])
    assert not (tmp_path / "run").exists()


# From here on: processes of their own.


def start(result, out, *options, devices=1):
    """A worker with this many CPU devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    command = [sys.executable, WORKER, result, out, *options]
    return subprocess.Popen(
        [str(part) for part in command],
        env=os.environ | {"XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start_two(result, out, *options, devices=1):
    port = free_port()
    join = lambda i: ("--join", port, 2, i)  # noqa: E731
    return [start(result, out, *options, *join(i), devices=devices) for i in range(2)]


def check_same(got, expected):
    relative = np.abs(got["losses"] - expected["losses"]) / expected["losses"]
    assert relative.max() < 1e-5
    np.testing.assert_array_equal(got["noise"], expected["noise"])
    np.testing.assert_allclose(got["samples"], expected["samples"], atol=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The results of one device without a mesh, and the directory of its run."""
    folder = tmp_path_factory.mktemp("alone")
    finish(start(folder / "result.npz", folder / "run"))
    return np.load(folder / "result.npz"), folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_every_mesh_gives_the_same_losses_noise_and_samples(mesh, alone, tmp_path):
    devices = int(np.prod([int(n) for n in re.findall(r"\d+", mesh)]))
    result = tmp_path / "result.npz"
    finish(start(result, tmp_path / "run", f"--mesh={mesh}", devices=devices))
    assert np.load(result)["devices"] == devices
    check_same(np.load(result), alone[0])
    for name, array in training.load_weights(alone[1])[0].items():
        found = training.load_weights(tmp_path / "run")[0][name]
        np.testing.assert_allclose(found, array, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mesh, devices", [("data=2", 1), ("model=2", 1), ("data=2,model=2", 2)])
def test_two_processes_give_the_same_losses_noise_and_samples(mesh, devices, alone, tmp_path):
    result = tmp_path / "result.npz"
    finish(*start_two(result, tmp_path / "run", f"--mesh={mesh}", devices=devices))
    assert np.load(result)["devices"] == 2 * devices
    check_same(np.load(result), alone[0])


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=2", "model=2"])
def test_two_processes_that_read_their_parts_by_grain_give_the_same(mesh, alone, tmp_path):
    pytest.importorskip("grain")
    result = tmp_path / "result.npz"
    finish(*start_two(result, tmp_path / "run", f"--mesh={mesh}", "--in_memory=no"))
    check_same(np.load(result), alone[0])


@pytest.mark.slow
@pytest.mark.parametrize("mesh, devices", [(None, 1), ("data=2", 2), ("model=2", 2)])
def test_a_checkpoint_of_eight_devices_goes_on_on_fewer(mesh, devices, eight, alone, tmp_path):
    """From step 4 of 8, where eight devices left off."""
    run = tmp_path / "run"
    shutil.copytree(eight, run)
    options = [] if mesh is None else [f"--mesh={mesh}"]
    finish(start(tmp_path / "result.npz", run, *options, devices=devices))
    check_same(np.load(tmp_path / "result.npz"), alone[0])
    first = [(run / "loss.csv").read_text().splitlines()[1:5] for run in (run, eight)]
    assert first[0] == first[1]  # to the last digit: not taken again


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """The directory of a run on eight devices whose newest checkpoint is of step 4."""
    folder = tmp_path_factory.mktemp("eight")
    finish(start(folder / "result.npz", folder / "run", "--mesh=data=4,model=2", devices=8))
    shutil.rmtree(folder / "run" / "checkpoint" / "8")
    return folder / "run"


@pytest.mark.slow
def test_two_processes_survive_kills_and_a_signal(tmp_path):
    """By the script: killed while it trains, then asked to stop, it ends with the same bits."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(*start_scripts(whole))

    def wait(steps, processes):
        while len(read_losses(killed / "loss.csv")) < steps:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.005)

    processes = start_scripts(killed)
    wait(11, processes)
    for process in processes:
        process.kill()
        process.wait()
    processes = start_scripts(killed)
    wait(23, processes)
    processes[1].send_signal(signal.SIGTERM)  # only one is told, both stop at one step
    for process in processes:
        assert "Stopped by SIGTERM after step" in process.communicate(timeout=600)[0]
        assert process.returncode == 143
    finish(*start_scripts(killed))
    for name in ("weights.safetensors", "loss.csv", "samples.npz"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    steps = [step for step, _ in read_losses(killed / "loss.csv")]
    assert steps == list(range(1, 61))


def start_scripts(out):
    port = free_port()
    options = [
        "--net.channels=[4]",
        "--net.embed_dim=8",
        "--optim.steps=60",
        "--optim.batch_size=16",
        "--scan_steps=2",
        "--checkpoint_every=6",
        "--sample.num_samples=5",
        "--sample.num_steps=2",
        "--sample.sampler=euler",
        f"--out={out}",
        f"--coordinator=127.0.0.1:{port}",
        "--num-processes=2",
    ]
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *options]
    return [
        subprocess.Popen(
            [*command, f"--process-id={i}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
