"""`ej.recommend`: exactly the evaluations asked for, on a grid of the ends asked for."""

import importlib.util
import pathlib

import numpy as np
import pytest
from support.cases import MIXTURE, Mixture
from support.orders import run

import edmjax as ej
from edmjax import few_steps as _recommend

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("final_zero", [True, False])
def test_it_takes_exactly_the_evaluations(final_zero):
    for nfe in (1, 2, 3, 5, 9, 10, 19, 20, 39, 40, 57):
        sampler, sigmas = ej.recommend(
            nfe, sigma_min=0.01, sigma_max=40.0, sigma_data=1.5, final_zero=final_zero
        )
        plan = ej.make_plan(sampler, sigmas)
        assert plan.nfe == nfe
        assert sigmas[0] == 40.0 and (np.diff(sigmas) < 0).all()
        assert sigmas.dtype == np.float64 and (sigmas[-1] == 0) == final_zero
        above = sigmas[:-1] if final_zero else sigmas
        assert len(above) == 1 or above[-1] == 0.01


def test_it_scales_with_the_data():
    """Data, levels and width ten times as large give the same weights."""
    for nfe in (4, 7, 10, 20, 40):
        plan = ej.make_plan(*ej.recommend(nfe))
        large = ej.make_plan(*ej.recommend(nfe, sigma_min=0.02, sigma_max=800.0, sigma_data=5.0))
        np.testing.assert_allclose(large.sigmas, 10 * plan.sigmas, rtol=1e-9)
        np.testing.assert_allclose(large.y, plan.y, atol=1e-9)
        np.testing.assert_allclose(large.d, plan.d, atol=1e-9)


def test_the_tabulated_levels_are_those_of_ten_steps():
    """And between them where there are more; those outside the ends are left out."""
    inner = 0.5 * np.array(_recommend.LEVELS)
    levels = _recommend.grids_for(0.002, 80.0, 0.5)["tabulated"]
    np.testing.assert_allclose(levels(11), [80.0, *inner, 0.002], rtol=1e-12)
    np.testing.assert_allclose(levels(21)[::2], levels(11), rtol=1e-12)
    np.testing.assert_allclose(levels(21)[1], np.sqrt(80.0 * inner[0]), rtol=1e-12)
    short = _recommend.grids_for(0.5, 2.0, 0.5)["tabulated"]
    np.testing.assert_allclose(short(6)[1:-1], inner[(inner > 0.5) & (inner < 2.0)], rtol=1e-12)


@pytest.mark.parametrize("nfe", [1, 2, 5, 8, 9, 10, 11, 12, 20, 40])
def test_samples_move_with_the_data(nfe):
    """Data moved by m give the same samples, moved by m: no sampler has to know the mean."""
    move = np.array([7.0, -4.0])
    plan = ej.make_plan(*ej.recommend(nfe, sigma_data=0.7))
    x = 80.0 * np.random.default_rng(0).normal(size=(16, 2))
    near, far = (
        run(Mixture(**{**MIXTURE, "means": np.array(MIXTURE["means"]) + m}).denoise, plan, x + m)
        for m in (0.0, move)
    )
    np.testing.assert_allclose(far - move, near, atol=1e-9)


def test_the_table_holds_pairs_that_are_compared():
    samplers, grids = _recommend.samplers_for(0.5), _recommend.grids_for(0.002, 80.0, 0.5)
    budgets = [row[0] for row in _recommend.TABLE]
    assert budgets == sorted(set(budgets)) and budgets[0] == 1
    for _, sampler, grid in _recommend.TABLE:
        assert sampler in samplers and grid in grids


def test_bad_arguments_get_a_sentence(unchecked):
    with pytest.raises(ValueError, match="`nfe` must be at least 1, got 0"):
        ej.recommend(0)
    for nfe in (10.0, True, "10"):
        with pytest.raises(TypeError, match="`nfe` must be an integer"):
            ej.recommend(nfe)
    with pytest.raises(ValueError, match="`sigma_min` must be below `sigma_max`"):
        ej.recommend(10, sigma_min=90.0)
    with pytest.raises(ValueError, match="`sigma_data` must be positive and finite, got -1"):
        ej.recommend(10, sigma_data=-1.0)
    with pytest.raises(TypeError, match="`final_zero` must be True or False"):
        ej.recommend(10, final_zero=0)


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "make" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["P1", "P2"])
def test_at_10_evaluations_it_is_7_times_as_good_as_heun(x64, monkeypatch, name):
    """And never worse than DPM++(2M), both on Karras 7; 256 starts of another seed."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "make")
    measure = script("recommend")
    denoise, x, reference = measure.starts(name, 256, seed=5)
    karras = ej.schedules.karras

    def error(sampler, sigmas):
        plan = ej.make_plan(sampler, sigmas)
        assert plan.nfe == 10
        return measure.rms(measure.errors(measure.run(denoise, plan, x), reference))

    width = measure.SIGMA_DATA[name]
    got = error(*ej.recommend(10, sigma_data=width, final_zero=False))
    assert 7 * got < error(ej.samplers.heun(), karras(6, final_zero=False))
    assert got < error(ej.samplers.dpmpp_2m(), karras(11, final_zero=False))
