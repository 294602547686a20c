"""`ej.recommend`: exactly the evaluations asked for, on a grid of the ends asked for."""

import importlib.util
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.cases import MIXTURE, Mixture
from support.orders import run

import edmjax as ej
from edmjax.few_steps import formula, measured, tuned

ROOT = pathlib.Path(__file__).parents[2]
# The widths of data of one scale, of two to five, of images, and where nothing is known.
FORMS = (
    {"sigma_data": 1.5, "spread": 1.5},
    {"sigma_data": 1.5, "spread": 5.0},
    {"sigma_data": 0.5, "spread": 9.0},
    {"sigma_data": 1.5},
)


@pytest.mark.parametrize("final_zero", [True, False])
@pytest.mark.parametrize("widths", FORMS)
def test_it_takes_exactly_the_evaluations(final_zero, widths):
    for nfe in (1, 2, 5, 6, 10, 13, 15, 19, 20, 25, 40):
        sampler, sigmas = ej.recommend(
            nfe, sigma_min=0.01, sigma_max=40.0, final_zero=final_zero, **widths
        )
        plan = ej.make_plan(sampler, sigmas)
        assert plan.nfe == nfe
        assert sigmas[0] == 40.0 and (np.diff(sigmas) < 0).all()
        assert sigmas.dtype == np.float64 and (sigmas[-1] == 0) == final_zero
        above = sigmas[:-1] if final_zero else sigmas
        assert len(above) == 1 or above[-1] == 0.01


@pytest.mark.parametrize("ratio", [1.0, 3.0, 10.0, None])
def test_it_scales_with_the_data(ratio):
    """Data, levels and widths ten times as large give the same weights."""
    spread = {} if ratio is None else {"spread": 0.5 * ratio}
    larger = {name: 10 * value for name, value in spread.items()}
    for nfe in (4, 10, 20, 40):
        plan = ej.make_plan(*ej.recommend(nfe, **spread))
        large = ej.make_plan(
            *ej.recommend(nfe, sigma_min=0.02, sigma_max=800.0, sigma_data=5.0, **larger)
        )
        np.testing.assert_allclose(large.sigmas, 10 * plan.sigmas, rtol=1e-9)
        np.testing.assert_allclose(large.y, plan.y, atol=1e-9)
        np.testing.assert_allclose(large.d, plan.d, atol=1e-9)


@pytest.mark.parametrize("below, above, mode", [(0.2, 0.5, 1.0), (0.1, 2.0, 9.0), (0.3, 0.7, 0.1)])
def test_the_levels_are_quantiles_of_a_laplace_law(below, above, mode):
    """The mass of the density between two neighbours, by quadrature, is the same everywhere."""
    levels = formula.laplace(9, 0.002, 80.0, mode, below, above)
    assert levels[0] == 80.0 and levels[-1] == 0.002

    def mass(low, high):
        u = np.linspace(np.log(low), np.log(high), 20001)
        away = u - np.log(mode)
        density = np.exp(np.where(away < 0, below * away, -above * away))
        return np.trapezoid(density, u)

    masses = [mass(low, high) for high, low in itertools.pairwise(levels)]
    np.testing.assert_allclose(masses, masses[0], rtol=1e-6)


def test_a_mode_above_the_first_level_gives_the_levels_of_karras():
    got = formula.laplace(11, 0.002, 80.0, np.inf, 1 / 7, 1.0)
    np.testing.assert_allclose(got, ej.schedules.karras(11, final_zero=False), rtol=1e-12)
    # With its mode at the last level the law is the mirror image, about log sqrt(80 * 0.002).
    low = formula.laplace(11, 0.002, 80.0, 1e-9, 0.2, 1 / 7)
    np.testing.assert_allclose(low[::-1] * got, 0.16, rtol=1e-12)


def test_the_tabulated_levels_are_those_of_ten_steps():
    """And between them where there are more; those outside the ends are left out."""
    inner = 0.5 * np.array(tuned.LEVELS)
    levels = tuned.grids_for(0.002, 80.0, 0.5)["tabulated"]
    np.testing.assert_allclose(levels(11), [80.0, *inner, 0.002], rtol=1e-12)
    np.testing.assert_allclose(levels(21)[::2], levels(11), rtol=1e-12)
    np.testing.assert_allclose(levels(21)[1], np.sqrt(80.0 * inner[0]), rtol=1e-12)
    short = tuned.grids_for(0.5, 2.0, 0.5)["tabulated"]
    np.testing.assert_allclose(short(6)[1:-1], inner[(inner > 0.5) & (inner < 2.0)], rtol=1e-12)


@pytest.mark.parametrize("widths", FORMS)
def test_samples_move_with_the_data(widths):
    """Data moved by m give the same samples, moved by m: no sampler has to know the mean."""
    move = np.array([7.0, -4.0])
    for nfe in (1, 5, 9, 14, 18, 25):
        plan = ej.make_plan(*ej.recommend(nfe, **widths))
        x = 80.0 * np.random.default_rng(0).normal(size=(16, 2))
        near, far = (
            run(
                Mixture(**{**MIXTURE, "means": np.array(MIXTURE["means"]) + m}).denoise, plan, x + m
            )
            for m in (0.0, move)
        )
        np.testing.assert_allclose(far - move, near, atol=1e-9)


def test_the_tables_hold_pairs_that_exist():
    known, grids = tuned.samplers_for(0.5), tuned.grids_for(0.002, 80.0, 0.5)
    assert [row[0] for row in tuned.TABLE] == sorted({row[0] for row in tuned.TABLE})
    assert all(sampler in known and grid in grids for _, sampler, grid in tuned.TABLE)
    for rows in (formula.NOT_KNOWN, formula.WIDE, formula.BETWEEN, formula.NARROW):
        assert min(rows) == 1
        for choice in rows.values():
            assert choice == "tuned" or choice.sampler in formula.samplers(0.5)


class Counted:
    """A Gaussian's denoiser that counts the samples it is shown, in a host callback."""

    def __init__(self, std=(2.0, 0.3, 0.1), shown=None):
        self.variances = np.square(std)
        self.shown = [] if shown is None else shown

    def __call__(self, x, sigma):
        jax.debug.callback(lambda _: self.shown.append(x.shape[0]), sigma)
        return x * self.variances / (self.variances + sigma**2)


def noises(n, shape=(3,), sigma=80.0, seed=0):
    return sigma * np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    "nfe, most",
    [(5, 3000), *(pytest.param(*c, marks=pytest.mark.thorough) for c in ((20, 3000), (21, 6000)))],
)
def test_a_network_is_evaluated_as_often_as_it_says(nfe, most):
    denoise = Counted()
    sampler, sigmas = ej.recommend(nfe, denoise=denoise, x=noises(100))
    jax.effects_barrier()
    size = measured.sizes(nfe, 100)
    assert sum(denoise.shown) == size.evaluations(nfe) <= most
    assert ej.make_plan(sampler, sigmas).nfe == nfe


def test_sizes_keep_to_the_evaluations_and_use_them():
    for nfe in range(1, 700):
        for rows in (8, 16, 64, 1000):
            size = measured.sizes(nfe, rows)
            assert 8 <= size.rows <= rows
            assert size.evaluations(nfe) <= (3000 if nfe <= 20 else 6000)
    assert measured.sizes(10, 1000).pairs == 3 + 8 and measured.sizes(10, 1000).rows >= 16


def test_with_a_network_the_pair_has_the_least_error_of_those_tried(x64):
    """Each run by itself from the same noises; the formula's pair is kept up to a factor of 1.3."""
    denoise = ej.problems.P1()
    exact = jax.jit(denoise.denoise)
    x = np.asarray(denoise.sample(jax.random.key(5), 24, sigma=80.0))
    sampler, sigmas = ej.recommend(6, denoise=denoise, x=x)
    size = measured.sizes(6, 24)
    x = x[: size.rows]
    fine = ej.make_plan(ej.samplers.unipc(3), ej.schedules.karras(400))
    ends = np.asarray(run(exact, fine, x))
    width, spread = measured.widths(ends, 0.002)
    choices = measured.candidates(6, formula.choice_for(6, spread / width), size.pairs)
    assert len(choices) == size.pairs == 3 + len(measured.TRIED[1])
    pairs = [formula.pair_of(c, 6, 0.002, 80.0, width, spread, True) for c in choices]

    def error(pair):
        got = np.asarray(run(exact, ej.make_plan(*pair), x))
        return np.sqrt(np.mean((got - ends) ** 2, axis=1)).mean()

    errors = [error(pair) for pair in pairs]
    # The fine solution that it was compared with has some error too.
    assert error((sampler, sigmas)) <= 1.1 * min(errors[3], 1.3 * min(errors))
    assert error((sampler, sigmas)) < 0.7 * min(errors[:3])


@pytest.mark.thorough
def test_equal_arguments_give_an_equal_pair_and_more_noises_are_not_read():
    denoise, x = Counted(), noises(64)
    first = ej.make_plan(*ej.recommend(9, denoise=denoise, x=x))
    used = measured.sizes(9, 64).rows
    again = ej.make_plan(*ej.recommend(9, denoise=denoise, x=x[:used]))
    assert used < 64
    for name in ("sigmas", "y", "d"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_a_tree_with_conditions():
    """A shared leaf stays whole, the others lose the rows that are not used."""

    def denoise(x, sigma, cond):
        assert cond["all"].shape == (1, 2) and cond["each"].shape == (x["a"].shape[0], 1)
        var = jnp.square(cond["each"])
        shrink = {"a": var / (var + sigma**2), "b": (1 / (1 + sigma**2))}
        return {"a": shrink["a"] * x["a"] + 0 * cond["all"].sum(), "b": shrink["b"] * x["b"]}

    x = {"a": noises(40, (2,)), "b": noises(40, (2, 2), seed=1)}
    cond = {"all": np.ones((1, 2), np.float32), "each": np.full((40, 1), 0.5, np.float32)}
    sampler, sigmas = ej.recommend(8, denoise=denoise, x=x, cond=cond)
    assert ej.make_plan(sampler, sigmas).nfe == 8


def test_widths_are_the_eigenvalues_of_the_covariance():
    samples = np.random.default_rng(0).normal(size=(4000, 3)) * [3.0, 1.0, 0.1] + 5.0
    width, widest = measured.widths(samples, 1e-3)
    np.testing.assert_allclose([width, widest], [np.sqrt(10.01 / 3), 3.0], rtol=0.05)
    values = np.linalg.eigvalsh(np.cov(samples.T))
    np.testing.assert_allclose([width**2, widest**2], [values.mean(), values[-1]], rtol=1e-9)
    assert measured.widths(np.ones((8, 4)), 0.01) == (0.01, 0.01)


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
    with pytest.raises(ValueError, match=r"`spread` must be at least `sigma_data`, 0\.5, got 0\.1"):
        ej.recommend(10, spread=0.1)
    with pytest.raises(TypeError, match="`final_zero` must be True or False"):
        ej.recommend(10, final_zero=0)


def test_bad_arguments_of_the_form_with_a_network_get_a_sentence(unchecked):
    denoise, x = Counted(), noises(8)
    with pytest.raises(ValueError, match=r"needs `x`: a few noises at `sigma_max`"):
        ej.recommend(10, denoise=denoise)
    for name in ("sigma_data", "spread"):
        with pytest.raises(ValueError, match=f"takes no `{name}`: it is measured"):
            ej.recommend(10, denoise=denoise, x=x, **{name: 0.5})
    for name in ("x", "cond"):
        with pytest.raises(ValueError, match=f"`recommend` takes no `{name}`: only a network"):
            ej.recommend(10, **{name: x})
    with pytest.raises(ValueError, match="at least 8 noises on axis 0, got 7"):
        ej.recommend(10, denoise=denoise, x=x[:7])
    with pytest.raises(
        ValueError, match=r"noise at `sigma_max`, 80, got a standard deviation of [01]"
    ):
        ej.recommend(10, denoise=denoise, x=noises(50, sigma=1.0))
    with pytest.raises(TypeError, match="call it outside `jit`"):
        jax.jit(lambda x: ej.recommend(10, denoise=denoise, x=x)[1])(x)
    with pytest.raises(ValueError, match="end in values that are not finite"):
        ej.recommend(5, denoise=lambda x, sigma: x * jnp.nan, x=x)
    with pytest.raises(TypeError, match="must hold floating arrays"):
        ej.recommend(5, denoise=denoise, x=np.ones((8, 3), int))
    assert not denoise.shown


def test_noises_of_few_numbers_are_taken_and_those_of_another_scale_are_not():
    """The deviation of 8 normal numbers is below 0.7 in 16 of 100 cases."""
    for seed in range(300):
        measured._check_noises(noises(8, (1,), seed=seed), 80.0)
        measured._check_noises(noises(16, (2,), seed=seed), 80.0)
    for wrong in (80.0 / 14.6, 1 / 2):
        for shape in ((64,), (8, 8, 3)):
            with pytest.raises(ValueError, match=r"must be noise at `sigma_max`, 14\.6"):
                measured._check_noises(noises(8, shape, sigma=14.6 * wrong), 14.6)


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "make" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name, spread", [("P1", 0.743), ("P2", 2.31), ("P3", 1.66)])
def test_at_10_evaluations_it_beats_three_solvers(x64, monkeypatch, name, spread):
    """DPM++(2M), `ipndm(3)` and UniPC-3 on Karras 7; 256 starts of another seed."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "make")
    measure = script("recommend")
    denoise, x, reference = measure.starts(name, 256, seed=5)

    def error(pair):
        plan = ej.make_plan(*pair)
        assert plan.nfe == 10
        return measure.rms(measure.errors(measure.run(denoise, plan, x), reference))

    width = measure.SIGMA_DATA[name]
    got = error(ej.recommend(10, sigma_data=width, spread=spread, final_zero=False))
    assert got < min(error(pair) for pair in measure.known(10))
