"""A plan as a file of its own computes what `ej.sample` computes, in NumPy and in PyTorch."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import random
from support.helpers import ALL

import edmjax as ej
from edmjax import samplers
from edmjax.schedules import karras

SHAPE = (3, 4)


def of_file(plan, to="numpy"):
    """The namespace of the file that a plan is converted to."""
    names = {}
    exec(compile(ej.plans.convert(plan, to=to), "sampler.py", "exec"), names)
    return names


def learned_variances(x, at):
    denoised, raw = at.denoise(x, at.sigma, raw=True)
    if at.last:
        return denoised
    return 0.9 * denoised + 0.1 * raw + at.sigma_next * at.noise(log_var=0.3)


def levels(name):
    if name == "of a process":
        return ej.processes.cosine().levels(np.linspace(0.98, 0.0, 7))
    if name == "from infinity":
        flow = np.array([np.inf, 3.0, 0.5, 0.0]), np.array([1.0, 0.7, 0.2, 0.0])
        return ej.processes.Levels(*flow, ej.processes.flow())
    return karras(6)


PLANS = {
    **{name: (lambda make=make: make[0](), "karras") for name, make in ALL.items()},
    "heun of a process": (samplers.heun, "of a process"),
    "ddim of a process": (lambda: samplers.ddim(0.7), "of a process"),
    "unipc from infinity": (lambda: samplers.unipc(2), "from infinity"),
    "learned variances": (lambda: learned_variances, "karras"),
}
FEW = ("heun", "unipc", "dpmpp_3m_sde", "ddim of a process", "unipc from infinity")
FEW = (*FEW, "learned variances")


@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in PLANS]
)
@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_the_file_samples_as_the_loop_does(name, to):
    make, grid = PLANS[name]
    if to == "torch":
        torch = pytest.importorskip("torch")
    with jax.enable_x64(True):
        plan = ej.make_plan(make(), levels(grid))
        x = random.normal(random.key(0), SHAPE, "float64")
        key = random.key(1)

        def denoise(x, sigma):
            # In the operators that arrays of all three packages have.
            x0 = x / (1 + sigma**2) + 0.1 * x * abs(x) / (1 + abs(x) + sigma**2)
            return {"x0": x0, "raw": 1.1 * x0, "log_var": 0.2 * x0}

        noise = ej.draw_noise(plan, key, x)
        expected = ej.sample(denoise, plan, x, noise=noise if plan.num_draws else None)
        process = ej.processes.cosine()
        of_process = process.sigma(0.98) * process.scale(0.98)
        first = {"karras": 80.0, "from infinity": 1.0, "of a process": of_process}[grid]
    names = of_file(plan, to)
    array = np.asarray if to == "numpy" else lambda v: torch.from_numpy(np.array(v))
    found = names["sample"](denoise, array(x), [array(z) for z in noise])
    np.testing.assert_allclose(names["START"], first, rtol=1e-6)
    assert names["DRAWS"] == plan.num_draws and len(names["SIGMAS"]) == plan.nfe
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-13)


def test_a_fitted_plan_says_what_it_was_fitted_on_and_where_it_starts():
    plan = ej.make_plan(samplers.heun(), karras(3))
    about = dataclasses.replace(plan.about, fitted_on='my "data"\n"""; import os')
    names = of_file(dataclasses.replace(plan, about=about))
    assert "fitted on my 'data'" in names["__doc__"] and "os" not in names
    assert names["START"] == 80.0


def test_torch_differs_from_numpy_in_its_import_alone():
    plan = ej.make_plan(learned_variances, karras(3))
    text = ej.plans.convert(plan, to="torch")
    assert text == ej.plans.convert(plan).replace("numpy", "torch")
    assert max(map(len, text.splitlines())) <= 100


def test_bad_input_is_a_sentence():
    plan = ej.make_plan(samplers.heun(), karras(3))
    with pytest.raises(ValueError, match="`to` must be 'numpy' or 'torch', got 'onnx'"):
        ej.plans.convert(plan, to="onnx")
    with pytest.raises(TypeError, match="traced, and under jit it has no numbers to write"):
        jax.jit(ej.plans.convert)(plan)
    stack = jax.tree.map(lambda v: np.stack([v, v]), plan)
    with pytest.raises(ValueError, match="is a stack of plans"):
        ej.plans.convert(stack)


def test_the_commands_and_a_file_that_runs_by_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan = ej.make_plan(samplers.heun(), karras(3))
    plan.save("plan.json", fitted_on="nothing")
    assert command("show", "plan.json") == 0
    assert "5 evaluations" in capsys.readouterr().out
    assert command("draw", "plan.json", "--out", "plan.png") == 0
    assert Path("plan.png").read_bytes().startswith(b"\x89PNG")
    assert command("convert", "plan.json", "--to", "numpy", "--out", "sampler.py") == 0
    script = """if True:
        import sys, json, numpy, sampler
        assert not [m for m in sys.modules if m.startswith(("jax", "edmjax"))]
        x = sampler.START * numpy.ones(2)
        print(json.dumps(sampler.sample(lambda x, s: x / (1 + s * s), x).tolist()))
    """
    alone = [sys.executable, "-c", script]
    done = subprocess.run(alone, capture_output=True, text=True, check=True)
    with jax.enable_x64(True):
        x0 = ej.sample(lambda x, s: x / (1 + s * s), plan, 80.0 * np.ones(2), batched=False)
    np.testing.assert_allclose(json.loads(done.stdout), x0, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "nowhere.json"), 1, "error: There is no plan to read at nowhere.json"),
        (("convert", "plan.json", "--out", "no/where.py"), 1, "error: no/where.py"),
        (("convert", "plan.json", "--to", "onnx", "--out", "a.py"), 2, "invalid choice: 'onnx'"),
        (("convert", "plan.json"), 2, "convert needs --out FILE"),
        (("show", "plan.json", "--out", "a.txt"), 2, "show prints, and takes no --out"),
        (("draw", "plan.json", "--uot", "a.png"), 2, "--out"),
    ],
)
def test_a_wrong_command_is_a_sentence(tmp_path, monkeypatch, capsys, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    ej.make_plan(samplers.heun(), karras(3)).save("plan.json")
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert stopped.value.code == code and says in capsys.readouterr().err


def command(*arguments):
    from edmjax.cli.plan import main

    return main(arguments)
