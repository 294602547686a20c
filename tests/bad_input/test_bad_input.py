"""Bad input gets a sentence: the catalogue of `bad_input/`, call by call.

Of each call it says the error class, and words that must be in it: what was wrong, what was got,
what to do. The error must come from this package, not from the depths of JAX or NumPy.
`python checks/bad_input.py` prints the counts by area.
"""

import functools
import importlib
import json
import pathlib
import re
import runpy
import sys
import traceback

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import random

import edmjax as ej
from bad_input import core, kinds, models, options, solvers, training as of_training
from edmjax import samplers as s, schedules as c

ROOT = pathlib.Path(__file__).parents[2]
TABLES = (core, solvers, models, of_training, options, kinds)
CASES = [(table.AREA, *case) for table in TABLES for case in table.CASES]
SUBMODULES = [
    "adaptive",
    "correctors",
    "denoisers",
    "evaluation",
    "guidance",
    "likelihood",
    "losses",
    "metrics",
    "posterior",
    "problems",
    "processes",
    "terms",
    "training",
]


def half(x, sigma):
    return 0.5 * x


def told(x, sigma, cond):
    return 0.5 * x


def limited(x, sigma):
    return 0.5 * x


limited.sigma_range = (0.01, 50.0)


def one_way(x, sigma):
    """A denoiser without a gradient in reverse mode."""
    return jax.lax.fori_loop(0, jnp.int32(sigma) * 0 + 1, lambda i, v: 0.5 * v, x)


def net(x, c_noise):
    return x


def raw(params, x, c_noise, cond=None):
    return x


def dataset(**changes):
    """Four images of the values 0 to 16, each of its own class, and what is wrong with them."""
    images = np.arange(256).reshape(4, 8, 8, 1) % 17
    given = dict(images=images.astype(np.uint8), labels=np.arange(4), largest=16, num_classes=4)
    return ej.training.Dataset("mine", **{**given, **changes})


def names(folder_path):
    """What the calls may use."""

    def write(name, text):
        path = folder_path / name
        path.write_text(text)
        return str(path)

    def folder(files):
        path = folder_path / "folder"
        path.mkdir()
        for name, content in files.items():
            (path / name).write_bytes(content)
        return str(path)

    def altered_plan():
        path = folder_path / "plan.json"
        found["PLAN"].save(path)
        content = json.loads(path.read_text())
        content["sigmas"]["values"][0] = 81.0
        path.write_text(json.dumps(content))
        return path

    def script(name, *options):
        old = sys.argv
        sys.argv = [f"{name}.py", *options]
        try:
            runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
        finally:
            sys.argv = old

    found = fixed() | {
        "write": write,
        "folder": folder,
        "altered_plan": altered_plan,
        "script": script,
    }
    return found


@functools.cache
def fixed():
    """Those that are the same for every call."""
    grid, vp = c.karras(5), ej.processes.vp()
    return {
        **{name: importlib.import_module(f"edmjax.{name}") for name in SUBMODULES},
        **{"ej": ej, "s": s, "c": c, "jax": jax, "jnp": jnp, "np": np, "random": random},
        **{
            "diffrax": diffrax,
            "nnx": nnx,
            "dataset": dataset,
            "half": half,
            "limited": limited,
            "net": net,
            "one_way": one_way,
            "raw": raw,
            "told": told,
        },
        "KEY": random.key(0),
        "X": jnp.ones((4, 2)),
        "ONE": jax.ShapeDtypeStruct((2,), jnp.float32),
        "GRID": grid,
        "NOISE": 80.0 * random.normal(random.key(1), (16, 2)),
        "UP": ej.make_plan(s.euler(), c.reverse(c.karras(5, final_zero=False))),
        "DOWN": ej.make_plan(s.euler(), c.karras(5, final_zero=False)),
        "TABLE": c.ddpm_table(),
        "PLAN": ej.make_plan(s.euler(), grid),
        "NOISY": ej.make_plan(s.ddpm(), grid),
        "HEUN": ej.make_plan(s.heun(), grid),
        "MULTI": ej.make_plan(s.dpmpp_2m(), grid),
        "CHURNED": ej.make_plan(s.churn(s.euler(), 8.0), grid),
        "SCALED": ej.make_plan(s.churn(s.euler(), 8.0), vp.levels([0.9, 0.5])),
        "UNET": ej.nn.UNet((8, 8, 1), channels=(4,), embed_dim=8, num_classes=3, rngs=nnx.Rngs(0)),
        "CORRECTOR": ej.correctors.langevin(),
    }


def wrong(call, kind, words, folder_path, said=None):
    """What does not hold of a call; empty where all does. `said` returns what scripts printed."""
    try:
        got = eval(call, names(folder_path))
    except BaseException as err:
        last = traceback.extract_tb(err.__traceback__)[-1].filename
        text = f"{err} {said() if said else ''}"
        if not isinstance(err, kind):
            return f"{type(err).__name__} instead: {text:.200}"
        if isinstance(err, SystemExit) and err.code in (0, None):
            return "the script ends with exit code 0"
        if not re.search(words, text, re.S):
            return f"said {text:.300}"
        ours = str(ROOT) in last or isinstance(err, SystemExit | AttributeError)
        return "" if ours else f"raised in {last}: {text:.200}"
    return f"no error, got {got!r:.120}"


@pytest.mark.parametrize("call, kind, words", [pytest.param(*v[1:], id=v[1]) for v in CASES])
def test_bad_input_gets_a_sentence(call, kind, words, tmp_path, monkeypatch, capsys, unchecked):
    monkeypatch.chdir(tmp_path)
    said = lambda: "".join(capsys.readouterr())  # noqa: E731
    assert wrong(call, kind, words, tmp_path, said) == ""


def test_the_catalogue_is_large_and_covers_every_submodule():
    assert len({case[1] for case in CASES}) == len(CASES) >= 100
    text = " ".join(case[1] for case in CASES)
    for name in SUBMODULES:
        assert f"{name}." in text
