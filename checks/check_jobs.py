"""The ten jobs of someone who is new here, from the commands of the documentation.

    python checks/check_jobs.py                  # all, at most 15 minutes each on two cores
    python checks/check_jobs.py photos export    # some

Each job makes its data, runs commands as docs/data.md, own_network.md, continue.md and export.md
have them, and looks at what came out: shapes, dtypes, and whether samples lie where the data lie.
The last column is wall time. The own networks are the code of docs/own_network.md.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
FAST = ["--optim.batch_size", "64", "--sample.num_samples", "64"]


def edmjax(*arguments: str, code: int = 0) -> str:
    """What a command prints; the check fails where its exit code is another one."""
    run = [sys.executable, "-c", "from edmjax.cli import main; main()", *arguments]
    done = subprocess.run(run, capture_output=True, text=True, env=environment())
    text = done.stdout + done.stderr
    if done.returncode != code:
        sys.exit(f"edmjax {' '.join(arguments)}: exit code {done.returncode}\n{text[-3000:]}")
    return text


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def near(samples: np.ndarray, data: np.ndarray, share: float) -> str:
    """How far means and deviations lie from those of the data, in deviations; a limit on both."""
    width = data.std()
    off = abs(samples.mean() - data.mean()) / width
    ratio = samples.std() / width
    assert off < share, f"the mean is {off:.2f} deviations off"
    assert abs(ratio - 1) < share, f"the deviation is {ratio:.2f} times that of the data"
    return f"mean {off:.2f} deviations off, deviation {ratio:.2f} of the data's"


def photos() -> str:
    """500 RGB PNGs of 32x32 in class folders."""
    x = np.linspace(0, 1, 32)
    images = []
    for i in range(500):
        name = ("stripes", "discs")[i % 2]
        colour = RNG.uniform(60, 255, 3)
        if name == "stripes":
            shade = 0.5 + 0.5 * np.sin(2 * np.pi * (3 * x[:, None] + RNG.uniform()) + 0 * x)
        else:
            centre = RNG.uniform(0.3, 0.7, 2)
            shade = 1.0 * (np.hypot(x[:, None] - centre[0], x - centre[1]) < 0.25)
        images.append((shade[..., None] * colour).astype(np.uint8))
        Path("photos", name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[-1]).save(Path("photos", name, f"{i}.png"))
    options = ["--net.classes", "true", "--net.name", "patch_unet", "--optim.steps", "600"]
    edmjax("train", "--data", "photos/", "--out", "runs/photos", *options, *FAST)
    edmjax("sample", "--checkpoint", "runs/photos", "--num-samples", "64", "--label", "1",
           "--guidance", "1.5", "--out", "samples")  # fmt: skip
    found = np.load("samples/samples.npz")
    assert found["x"].shape == (64, 32, 32, 3) and found["x"].dtype == np.uint8
    assert set(found["y"]) == {1}
    every = np.load("runs/photos/samples.npz")["x"]
    return near(every.astype(float), np.stack(images).astype(float), 0.5)


def fields() -> str:
    """A float .npy of 24x40x5."""
    waves = RNG.normal(size=(400, 5, 4))
    grid = np.sin(np.arange(24)[:, None, None] / 4 + np.arange(40)[:, None] / 7 + np.arange(4))
    x = np.einsum("nck,hwk->nhwc", waves, grid) * [1, 10, 0.1, 3, 2] + [300, 0, 5, -20, 1]
    np.save("fields.npy", x)
    options = ["--net.name", "patch_unet", "--optim.steps", "400"]
    edmjax("train", "--data", "fields.npy", "--out", "runs/fields", *options, *FAST)
    found = np.load("runs/fields/samples.npz")["x"]
    assert found.shape == (64, 24, 40, 5) and found.dtype == np.float64
    return near(found / x.std((0, 1, 2)), x / x.std((0, 1, 2)), 0.3)


def table() -> str:
    """A local folder of the library datasets."""
    import datasets

    x = RNG.normal([3.0, -1.0, 0.0], [1.0, 0.2, 5.0], (1000, 3)).astype(np.float32)
    datasets.Dataset.from_dict({"x": x.tolist(), "label": (x[:, 0] > 3).astype(int).tolist()}
                               ).save_to_disk("table")  # fmt: skip
    edmjax("train", "--data", "hf:table", "--net.classes", "true", "--optim.steps", "1000",
           "--out", "runs/table", *FAST)  # fmt: skip
    edmjax("sample", "--checkpoint", "runs/table", "--num-samples", "2000", "--out", "table_s")
    found = np.load("table_s/samples.npz")
    above = found["x"][found["y"] == 1][:, 0]
    assert np.mean(above > 3) > 0.9
    return near(found["x"] / x.std(0), x / x.std(0), 0.2)


def condition() -> str:
    """Vectors with a vector condition: theta given x = theta + noise of deviation 0.5."""
    theta = RNG.normal(size=(4000, 3))
    np.savez("simulations.npz", x=theta, cond=10 * (theta + 0.5 * RNG.normal(size=theta.shape)))
    np.save("observation.npy", np.array([[10.0, -5.0, 0.0]]))
    edmjax("train", "--data", "simulations.npz", "--loss.cond_dropout", "0.1", "--held_out", "0.1",
           "--keep", "best", "--optim.steps", "2000", "--out", "runs/posterior", *FAST)  # fmt: skip
    edmjax("sample", "--checkpoint", "runs/posterior", "--cond", "observation.npy",
           "--num-samples", "2000", "--out", "posterior")  # fmt: skip
    x = np.load("posterior/samples.npz")["x"]
    off = np.abs(x.mean(0) - [0.8, -0.4, 0.0]).max()
    assert off < 0.15 and np.abs(x.std(0) / 0.2**0.5 - 1).max() < 0.15
    return f"posterior mean {off:.3f} off, deviations {x.std(0).round(3)} (exact 0.447)"


def networks() -> str:
    """A network of Flax NNX, of Linen and of Equinox."""
    page = (ROOT / "docs" / "own_network.md").read_text()
    for block in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL):
        Path(block[0]).write_text(block[1])
    x = RNG.normal([10, 0], [3, 0.5], (2000, 2))
    np.save("vectors.npy", x)
    told = []
    for name, options in (
        ("mynets:Residual", ["--net.options", "{width: 128}"]),
        ("mylinen:make", []),
    ):
        out = f"runs/{name.partition(':')[0]}"
        edmjax("train", "--data", "vectors.npy", "--net.name", name, *options, "--out", out,
               "--optim.steps", "1500", *FAST)  # fmt: skip
        edmjax("sample", "--checkpoint", out, "--num-samples", "1000", "--out", f"{out}_s")
        told.append(near(np.load(f"{out}_s/samples.npz")["x"][:, 0], x[:, 0], 0.25))
    blocks = re.findall(r"```python\n(?!# \w+\.py)(.*?)```", page, re.DOTALL)
    program = "import jax.numpy as jnp\n" + "\n".join(blocks)
    program += "\nassert len(seen) == 10 and isinstance(of_equinox.net, Equinox)\n"
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return "; ".join(told)


def go_on() -> str:
    """Continue a run."""
    np.save("vectors.npy", RNG.normal(size=(500, 2)))
    common = ["--data", "vectors.npy", "--out", "runs/longer", "--optim.decay", "none", *FAST]
    edmjax("train", *common, "--optim.steps", "200")
    text = edmjax("train", *common, "--optim.steps", "400")
    assert "has taken 200 of 200 steps. It goes on with other values" in text
    steps = len(Path("runs/longer/loss.csv").read_text().splitlines()) - 1
    assert steps == 400
    return "200 steps, then 400"


def tune() -> str:
    """Fine-tune on other data with other classes."""
    options = ["--net.classes", "true", "--net.width", "64", *FAST]
    for name, classes, shift in (("first", 3, 0.0), ("second", 5, 1.0)):
        x = RNG.normal(shift, 1, (600, 4))
        np.savez(f"{name}.npz", x=x, y=np.arange(600) % classes)
    edmjax("train", "--data", "first.npz", "--out", "runs/first", "--optim.steps", "300", *options)
    text = edmjax("train", "--data", "second.npz", "--init_from", "runs/first", "--out",
                  "runs/tuned", "--optim.steps", "200", *options)  # fmt: skip
    assert "the scale of runs/first is kept" in text and "rest start anew" in text
    return next(line for line in text.splitlines() if "rest start anew" in line)[:110]


def board() -> str:
    """TensorBoard, a held-out curve and samples while it trains."""
    np.save("images.npy", RNG.integers(0, 255, (300, 8, 8, 1)).astype(np.uint8))
    edmjax("train", "--data", "images.npy", "--net.channels", "[16,32]", "--optim.steps", "100",
           "--held_out", "0.1", "--watch_every", "50", "--watch_samples", "9", "--tensorboard",
           "true", "--out", "runs/watched", *FAST)  # fmt: skip
    out = Path("runs/watched")
    events = next((out / "tensorboard").iterdir())
    assert events.stat().st_size > 3000
    assert len((out / "held_out.csv").read_text().splitlines()) == 3
    return f"{events.stat().st_size} bytes of events, {sorted(os.listdir(out / 'watch'))}"


def many() -> str:
    """50,000 samples with two interruptions."""
    np.save("vectors.npy", RNG.normal(size=(500, 2)))
    edmjax("train", "--data", "vectors.npy", "--out", "runs/v", "--optim.steps", "200", *FAST)
    command = ["sample", "--checkpoint", "runs/v", "--num-samples", "50000", "--chunk-size", "1000"]
    run = [sys.executable, "-c", "from edmjax.cli import main; main()", *command, "--out", "cut"]
    for wanted in (10, 25):
        process = subprocess.Popen(run, env=environment(), stderr=subprocess.PIPE)
        while process.poll() is None and len(list(Path("cut/shards").glob("*.npz"))) < wanted:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate()
        assert process.returncode == 143, process.returncode
    edmjax(*command, "--out", "cut")
    edmjax(*command, "--out", "whole")
    same = Path("cut/samples.npz").read_bytes() == Path("whole/samples.npz").read_bytes()
    assert same and np.load("cut/samples.npz")["x"].shape == (50000, 2)
    return "the bytes of a run without interruption"


def export() -> str:
    """Export, and run where only jax and flatbuffers are installed."""
    x = RNG.integers(0, 255, (300, 8, 8, 3)).astype(np.uint8)
    np.save("images.npy", x)
    edmjax("train", "--data", "images.npy", "--net.channels", "[16,32]", "--optim.steps", "100",
           "--out", "runs/exported", *FAST)  # fmt: skip
    edmjax("export", "--checkpoint", "runs/exported", "--out", "sampler.stablehlo")
    edmjax("sample", "--checkpoint", "runs/exported", "--num-samples", "5", "--seed", "3",
           "--out", "of_sample")  # fmt: skip
    subprocess.run([sys.executable, "-m", "venv", "bare"], check=True)
    python = "bare/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "jax", "flatbuffers"], check=True)
    program = """
import numpy as np
from jax import export
sampler = export.deserialize(bytearray(open("sampler.stablehlo", "rb").read()))
np.save("exported.npy", sampler.call(np.int32(3), np.arange(5, dtype=np.int32)))
"""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([python, "-c", program], check=True, env=clean)
    found, wanted = np.load("exported.npy"), np.load("of_sample/samples.npz")["x"]
    assert found.dtype == wanted.dtype == np.uint8
    off = int(np.abs(found.astype(int) - wanted).max())
    assert off <= 1, off
    return f"at most {off} of 255 from edmjax sample"


JOBS: list[Callable[[], str]] = [
    *(photos, fields, table, condition, networks),
    *(go_on, tune, board, many, export),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [job.__name__ for job in JOBS]
    parser.add_argument("jobs", nargs="*", help=f"some of {', '.join(names)}")
    chosen = parser.parse_args().jobs or names
    for job in JOBS:
        if job.__name__ not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            before = Path.cwd()
            os.chdir(folder)
            start = time.perf_counter()
            found = job()
            os.chdir(before)
        seconds = time.perf_counter() - start
        print(f"{job.__name__:10} {found}  [{seconds:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
