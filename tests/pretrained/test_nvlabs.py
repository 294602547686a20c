"""Networks of NVlabs: what they compute, against goldens of the authors' code.

`checks/pretrained_nvlabs.py` has made the goldens, in float64 and in float32, and
`checks/pretrained_nvlabs_names.py` the lists of names. Networks go through a directory.
"""

import functools
import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.nvlabs import KINDS, error, loaded, relative
from support.nvlabs_configs import CONFIGS
from support.pretrained import GOLDEN, cases, golden, save

import edmjax as ej
from edmjax.pretrained import building, loading, names, preconditioned

ALL = [case for kind in KINDS for case in cases(kind)]
GRIDS = json.loads((GOLDEN / "nvlabs_grids.json").read_text())


def tiers(names, thorough):
    """Marks: what is not thorough is slow."""
    marks = {True: pytest.mark.thorough, False: pytest.mark.slow}
    return [pytest.param(name, marks=marks[name in thorough]) for name in names]


@pytest.mark.parametrize("case", tiers(ALL, ("edm_ddpmpp", "edm2_classes")))
def test_float64(case, tmp_path, x64):
    assert error(tmp_path, case, np.float64) < 1e-9


# bfloat16 against the golden in float64: eight binary digits, in each of some twenty layers.
@pytest.mark.slow
@pytest.mark.parametrize("dtype, most", [(np.float32, 1e-5), (jnp.bfloat16, 0.03)])
@pytest.mark.parametrize("case", ALL)
def test_narrow(case, dtype, most, tmp_path):
    assert error(tmp_path, case, dtype) < most


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["lax", "matmul"])
def test_impl(impl, tmp_path, x64):
    assert error(tmp_path, "edm_ncsnpp", np.float64, impl=impl) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("edm2_"))
def test_uncertainty(case, tmp_path, x64):
    """What EDM2 learned of its error at a level, `u(sigma)`."""
    run = golden(case)
    save(tmp_path, run["config"])
    file = tmp_path / "config.json"
    _, apply, params = loading.network(file, None, None, "auto", ("precond",))
    made = apply.merge(params).log_var(jnp.log(jnp.asarray(run["sigma"])) / 4)
    np.testing.assert_allclose(made, run["logvar"], rtol=1e-12)


@pytest.mark.slow
def test_heun_of_the_authors(tmp_path, x64):
    """18 steps of a conditional network: the result of the authors' sampler on the same noise."""
    run = golden("heun_edm")
    denoise = loaded(tmp_path, run["config"])
    plan = ej.make_plan(ej.samplers.heun(), denoise.levels(18))
    start = denoise.process.prior_std * jnp.asarray(np.moveaxis(run["noise"], 1, -1))
    x = ej.sample(denoise, plan, start, cond={"class_labels": jnp.asarray(run["class_labels"])})
    assert relative(np.moveaxis(np.asarray(x), -1, 1), run["out"]) < 1e-12


def process_and_grid(config, u):
    options, _ = building.build(config, "config.json")
    made = preconditioned.pretrained(config["_class_name"], options, lambda x, c: x, {"u": u}, "")
    return made


@pytest.mark.parametrize("run", GRIDS, ids=lambda run: f"{run['config']['_class_name']}-{run['n']}")
def test_levels(run):
    """The levels that the authors' sampler visits for each preconditioning, and the ends."""
    u = next(other["u"] for other in GRIDS if other["u"])
    made = process_and_grid(run["config"], np.array(u))
    grid = made.levels(run["n"])
    np.testing.assert_allclose(grid.sigmas[:-1], run["sigmas"], rtol=1e-9)
    assert grid.sigmas[-1] == 0
    if run["config"]["_class_name"] != "EDMPrecond":  # whose network has no ends of its own
        # `u` of the sampler is computed anew there, in another order.
        np.testing.assert_allclose(made.sigma_range, run["ends"], rtol=1e-5)


def test_more_levels_than_the_table_has():
    config = GRIDS[-1]["config"] | {"M": 20}
    made = process_and_grid(config, np.append(np.geomspace(100, 0.01, 20), 0))
    with pytest.raises(ValueError, match=r"knows 19 levels from 0\.01 to 81, got n = 20"):
        made.levels(20)
    with pytest.raises(ValueError, match="the levels of the array 'u' must be positive, and fall"):
        process_and_grid(config, np.zeros(21))


@functools.cache
def lists():
    return json.loads(gzip.decompress((GOLDEN / "nvlabs_names.json.gz").read_bytes()))


@pytest.mark.parametrize("network", tiers(CONFIGS, ("edm-cifar10-32x32-cond-ve", "edm2-img512-s")))
def test_one_to_one(network):
    _, make = building.build(CONFIGS[network], network)
    _, wanted = building.shapes_of(make, network)
    found = {name: tuple(shape) for name, shape in lists()[network].items()}
    matched = names.matched(wanted, found, network)
    assert sorted(matched.values()) == sorted(found) and len(matched) == len(wanted)


def test_all_networks_are_listed():
    assert sorted(lists()) == sorted(CONFIGS)


@pytest.mark.slow
def test_classes(tmp_path, x64):
    """Whole numbers, one-hot rows, the row of zeros, and a label for all samples."""
    case = golden("edm_classes")
    denoise = loaded(tmp_path, case["config"])
    x, sigma = jnp.asarray(np.moveaxis(case["x"], 1, -1)), 2.0
    call = jax.jit(lambda cond: denoise(x, sigma, cond))
    labels = jnp.asarray(case["class_labels"])
    first = call({"class_labels": labels})
    np.testing.assert_allclose(first, call({"class_labels": jax.nn.one_hot(labels, 5)}), atol=1e-12)
    nothing = denoise(x, sigma)
    np.testing.assert_allclose(nothing, call({"class_labels": jnp.array([5])}), atol=1e-12)
    np.testing.assert_allclose(nothing, call({"class_labels": jnp.zeros((2, 5))}), atol=1e-12)
    assert relative(nothing, first) > 1e-3
    guided = ej.guidance.classifier_free(denoise, 2.0, uncond={"class_labels": jnp.array([5])})
    wanted = nothing + 2 * (first - nothing)
    np.testing.assert_allclose(guided(x, sigma, {"class_labels": labels}), wanted, atol=1e-9)
    with pytest.raises(ValueError, match="Labels are 0 to 4, or 5 for no class, got 6"):
        denoise(x, sigma, {"class_labels": jnp.array([0, 6])})
    with pytest.raises(ValueError, match="one integer a sample, or a row of 5 numbers"):
        denoise(x, sigma, {"class_labels": jnp.zeros((2, 4))})


@pytest.mark.slow
def test_learned_variance(tmp_path):
    """A network of iDDPM returns the second half of its channels too, as others of its kind do."""
    case = golden("iddpm_adm")
    denoise = loaded(tmp_path, case["config"], np.float32)
    out = denoise(jnp.ones((1, 8, 8, 3)), 3.0)
    assert sorted(out) == ["log_var", "x0"] and out["log_var"].shape == (1, 8, 8, 3)
    assert denoise.process.num_timesteps == 20 and denoise.shape == (8, 8, 3)
    assert denoise.levels(5).times.tolist() == sorted(denoise.levels(5).times, reverse=True)
