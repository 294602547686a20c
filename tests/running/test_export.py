"""Functions that `jax.export` exports: any number of samples, plans as arguments, any platform."""

import dataclasses
import importlib.util
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from support.helpers import later

import edmjax as ej
from edmjax import samplers as s

KEY = jax.random.key(0)
GRID = ej.schedules.karras(4)
NOISY = ej.make_plan(s.ancestral(s.euler()), GRID)
PLANS = {
    "ancestral": NOISY,
    "churn": ej.make_plan(s.churn(s.heun(), 5.0), GRID),
    "sde": ej.make_plan(s.dpmpp_2m_sde(), GRID),
}
(BATCH,) = export.symbolic_shape("batch")
PROBLEM = ej.problems.Gaussian([0.3, 0.1], 0.25)
needs_flatbuffers = pytest.mark.skipif(
    not importlib.util.find_spec("flatbuffers"), reason="the extra `export` is not installed"
)


def points(*shape):
    return jax.ShapeDtypeStruct((BATCH, *shape), jnp.float32)


def exported(run, *arguments, **options):
    return export.export(jax.jit(run), **options)(*arguments)


@pytest.mark.parametrize("name", ["ancestral", *later(*sorted({*PLANS} - {"ancestral"}))])
def test_samples_of_a_symbolic_batch_are_those_of_any_batch(name):
    def run(x, key):
        return ej.sample(PROBLEM, PLANS[name], x, key)

    made, x = exported(run, points(2), KEY), 80.0 * jax.random.normal(KEY, (5, 2))
    want = run(x, KEY)
    for n in (3, 5):  # the first samples do not depend on the others
        np.testing.assert_allclose(made.call(x[:n], KEY), want[:n], rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_draws_of_a_symbolic_batch_have_the_same_bits():
    def draws(x, key):
        start = ej.normal_like(ej.sample_keys(key, x.shape[0], start=3), x)
        return start, ej.draw_noise(NOISY, key, x)

    x = jnp.zeros((5, 3))
    got, want = exported(draws, points(3), KEY).call(x, KEY), draws(x, KEY)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def condition(x, sigma, cond):
    return x / (1 + sigma**2) + cond


def at_each_level(x, sigma):
    return x / (1 + jnp.reshape(sigma, (-1, 1)) ** 2)


ENDS = {"sigma_max": 8.0, "sigma_min": 0.1}
CALLS = {
    "trajectory": lambda x, key: ej.trajectory(PROBLEM, NOISY, x, key),
    "checked": lambda x, key: ej.sample_checked(PROBLEM, NOISY, x, key)[0],
    "until": lambda x, key: ej.sample_until(PROBLEM, NOISY, x, key, stop=2),
    "sweep": lambda x, key: ej.sweep(PROBLEM, [*PLANS.values()], x, key),
    "path": lambda x, key: ej.sample(PROBLEM, NOISY, x, ej.brownian(key)),
    "cond": lambda x, key: ej.sample(condition, NOISY, x, key, cond=jnp.zeros((x.shape[0], 1))),
    "corrector": lambda x, key: ej.sample(
        PROBLEM, NOISY, x, key, corrector=ej.correctors.langevin(0.1)
    ),
    "adaptive": lambda x, key: ej.adaptive.sample(
        at_each_level, ej.adaptive.dpm_adaptive(eta=1.0), x, key, **ENDS
    ),
    "edm": lambda x, key: ej.losses.edm(lambda p, x, c: p * x, jnp.ones(()), x, key),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CALLS)
def test_every_call_takes_a_symbolic_batch(name):
    made = exported(CALLS[name], points(2), KEY)
    x = jax.random.normal(KEY, (3, 2))
    got, want = made.call(x, KEY), CALLS[name](x, KEY)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if a.dtype != np.uint32:  # the checksums of traced plans and keys are 0
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


ARGUMENTS = {
    "plan": lambda: NOISY,
    "plan in a scale": lambda: ej.make_plan(s.ddpm("learned_range"), ej.processes.ddpm().grid(4)),
    "fitted plan": lambda: dataclasses.replace(
        NOISY, about=ej.planning.About("a problem", sigma_range=(0.1, np.inf))
    ),
    "path": lambda: ej.brownian(KEY, ej.processes.ddpm()),
    "flow": lambda: ej.processes.flow(shift=3.0),
    "problem": lambda: PROBLEM,
    "corrector": lambda: ej.correctors.langevin(0.1, num_steps=2),
    "half-run": lambda: ej.sample_until(PROBLEM, NOISY, jnp.ones((2, 2)), KEY, stop=2),
    "report": lambda: ej.sample_checked(PROBLEM, NOISY, jnp.ones((2, 2)), KEY)[1],
    "adaptive report": lambda: ej.adaptive.Report(*jnp.zeros((5, 2))),
    "loss of each sample": lambda: ej.losses.PerSample(*jnp.ones((3, 2))),
    "estimate": lambda: ej.metrics.Estimate(*jnp.ones(2)),
    "coverage": lambda: ej.metrics.Coverage(*jnp.ones((3, 2))),
    "ranks": lambda: ej.metrics.Ranks(*jnp.ones((3, 2))),
    "likelihood": lambda: ej.likelihood.Stats(*jnp.ones((3, 2)), jnp.ones(2)),
}


LATER = (
    "corrector",
    "half-run",
    "report",
    "adaptive report",
    "loss of each sample",
    "estimate",
    "coverage",
    "ranks",
    "likelihood",
)


@needs_flatbuffers
@pytest.mark.parametrize("name", [*sorted({*ARGUMENTS} - {*LATER}), *later(*LATER)])
def test_our_pytrees_are_arguments_and_results_of_what_is_written(unchecked, name):
    # JAX rebuilds them with shapes in the place of arrays.
    tree = ARGUMENTS[name]()
    leaves, structure = jax.tree.flatten(tree)
    made = exported(lambda leaves: structure.unflatten(leaves), leaves)  # reports are results alone
    assert export.deserialize(made.serialize()).out_tree == structure
    if "report" not in name:
        read = export.deserialize(exported(lambda tree: jax.tree.leaves(tree), tree).serialize())
        for got, leaf in zip(read.call(tree), leaves, strict=True):
            data = jax.random.key_data if ej.noise.keys.is_typed(leaf) else np.float32
            np.testing.assert_array_equal(data(got), data(leaf))


CODE = """
import sys
import edmjax as ej
import jax, numpy as np
from jax import export
plan = ej.make_plan(ej.samplers.dpmpp_2m_sde(eta=0.3), ej.schedules.exponential(4))
with open(sys.argv[1], "rb") as file:
    run = export.deserialize(bytearray(file.read()))
x = jax.numpy.linspace(-80.0, 80.0, 14).reshape(7, 2)
np.save(sys.argv[2], run.call(plan, x, jax.random.key(5)))
"""


@pytest.mark.thorough
@needs_flatbuffers
def test_a_new_process_runs_another_plan_on_another_batch(tmp_path):
    def run(plan, x, key):
        return ej.sample(PROBLEM, plan, x, key)

    file, out = tmp_path / "run.bin", tmp_path / "x0.npy"
    file.write_bytes(exported(run, PLANS["sde"], points(2), KEY).serialize())
    subprocess.run([sys.executable, "-c", CODE, str(file), str(out)], check=True)
    plan = ej.make_plan(s.dpmpp_2m_sde(eta=0.3), ej.schedules.exponential(4))
    x = jnp.linspace(-80.0, 80.0, 14).reshape(7, 2)
    np.testing.assert_allclose(np.load(out), run(plan, x, jax.random.key(5)), rtol=1e-5, atol=1e-6)


def test_the_loop_is_lowered_alike_for_every_platform():
    """Images are held as matrices on each, whatever the platform of this process."""

    def run(x, key):
        return ej.sample(lambda x, sigma: x / (1 + sigma**2), NOISY, x, key)

    x = jnp.ones((3, 4, 2, 2))
    traced = jax.jit(run).trace(x, KEY)
    for platform in ("cpu", "cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        carried = re.findall(r"stablehlo.while.*? : (.*)", text)[0]
        assert "tensor<3x16xf32>" in carried and "tensor<3x4x2x2xf32>" not in carried


@pytest.mark.thorough
def test_a_sampler_of_all_platforms_has_the_bits_of_this_one():
    def run(plan, x, key):
        return ej.sample(lambda x, sigma: x / (1 + sigma**2), plan, x, key)

    x = 80.0 * jax.random.normal(KEY, (3, 4, 2, 2))
    made = exported(run, NOISY, x, KEY, platforms=["cpu", "cuda", "tpu"])
    np.testing.assert_array_equal(made.call(NOISY, x, KEY), jax.jit(run)(NOISY, x, KEY))
