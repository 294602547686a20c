"""What the pictures hold: the numbers of lines and images, not pixels."""

import inspect
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import edmjax as ej

MIXTURE = ej.problems.Mixture([0.4, 0.6], [[1.0, 0.0], [-1.0, 0.5]], 0.05)
KEY = jax.random.key(0)
EULER = ej.make_plan(ej.samplers.euler(), [4.0, 1.0, 0.0])


def lines(ax):
    return [np.stack(line.get_data(), axis=1) for line in ax.lines]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def images(n, channels=1, height=2, width=3):
    return np.random.default_rng(0).uniform(-1, 1, (n, height, width, channels))


def test_levels_are_drawn_by_their_number_without_zero_and_infinity():
    grids = {"one": np.array([math.inf, 3.0, 0.5, 0.0]), "two": [2.0, 1.0]}
    ax = ej.plot.sigmas(grids)
    one, two = lines(ax)
    np.testing.assert_array_equal(one, [(1, 3.0), (2, 0.5)])
    np.testing.assert_array_equal(two, [(0, 2.0), (1, 1.0)])
    assert ax.get_yscale() == "log" and legend(ax) == ["one", "two"]
    alone = ej.plot.sigmas(jnp.asarray([2.0, 1.0]))
    np.testing.assert_array_equal(lines(alone), [two])
    assert alone.get_legend() is None


def shown(ax):
    """The weights of a drawn plan, by row and name."""
    names = [label.get_text() for label in ax.get_xticklabels()]
    return names, np.asarray(ax.images[0].get_array())


def test_a_plan_of_euler_is_the_formula_of_euler():
    names, matrix = shown(ej.plot.plan(EULER))
    assert names == ["x", "x0", "D0", "D1"]
    # x' = (s'/s) x + (1 - s'/s) D, from 4 to 1 to 0; the last row is the denoiser's answer.
    np.testing.assert_allclose(matrix, [[1, 0, 0, 0], [0, 0.25, 0.75, 0], [0, 0, 0, 1]])


def test_noise_has_a_column_a_draw():
    levels = [4.0, 2.0, 1.0, 0.0]
    names, matrix = shown(
        ej.plot.plan(ej.make_plan(ej.samplers.ancestral(ej.samplers.euler()), levels))
    )
    # sigma_up of Karras' ancestral step: s' sqrt(1 - (s'/s)^2); the step to zero adds none.
    up = [s_next * math.sqrt(1 - (s_next / s) ** 2) for s, s_next in ((4, 2), (2, 1))]
    expected = np.zeros((4, 2))
    expected[1, 0], expected[2, 1] = up
    np.testing.assert_allclose(matrix[:, [names.index("z0"), names.index("z1")]], expected)


@pytest.mark.parametrize("name", ["heun", "pndm", "unipc"])
def test_the_drawn_matrix_makes_the_sample(name, x64):
    plan = ej.make_plan(getattr(ej.samplers, name)(), ej.schedules.karras(7, sigma_max=5.0))
    names, matrix = shown(ej.plot.plan(plan))
    x = 5.0 * jax.random.normal(KEY, (3, 2))
    made = {"x": x}
    for k, weights in enumerate(matrix):
        point = sum(w * made[n] for n, w in zip(names, weights, strict=True) if w)
        if k < plan.nfe:
            made |= {f"x{k}": point, f"D{k}": MIXTURE(point, plan.sigmas[k])}
    np.testing.assert_allclose(point, ej.sample(MIXTURE, plan, x), atol=1e-12)


def test_long_plans_are_labelled_in_part():
    ax = ej.plot.plan(ej.make_plan(ej.samplers.euler(), ej.schedules.karras(200)))
    assert len(ax.get_yticks()) <= 40 and len(ax.get_xticks()) <= 40
    assert ax.images[0].get_array().shape == (201, 400)


def test_ways_are_those_of_trajectory():
    x = 4.0 * jax.random.normal(KEY, (5, 2))
    ax = ej.plot.trajectories(MIXTURE, EULER, x, sigma_data=2.0)
    end, points = ej.trajectory(MIXTURE, EULER, x)
    ways = np.stack(ax.collections[0].get_segments())
    widths = [math.sqrt(1 + (4 / 2) ** 2), math.sqrt(1 + (1 / 2) ** 2), 1]
    for k, point in enumerate([*points, end]):
        np.testing.assert_allclose(ways[:, k], point / widths[k], rtol=1e-6)
    np.testing.assert_allclose(lines(ax)[0], end, rtol=1e-6)
    as_they_are = ej.plot.trajectories(MIXTURE, EULER, x, sigma_data=math.inf)
    ways = np.stack(as_they_are.collections[0].get_segments())
    np.testing.assert_allclose(ways[:, 0], x, rtol=1e-6)
    low, high = as_they_are.get_xlim()
    assert low < ways[..., 0].min() and high > ways[..., 0].max()


def test_the_noise_of_ways_and_previews_is_that_of_the_key():
    plan = ej.make_plan(ej.samplers.ancestral(ej.samplers.euler()), [4.0, 1.0, 0.0])
    x = jnp.ones((3, 2))
    ends = [lines(ej.plot.trajectories(MIXTURE, plan, x, KEY))[0] for _ in range(2)]
    np.testing.assert_allclose(ends[0], ends[1])
    np.testing.assert_allclose(ends[0], ej.sample(MIXTURE, plan, x, KEY), rtol=1e-6)


def test_a_preview_has_a_row_a_sample_and_a_column_an_evaluation():
    def denoise(x, sigma, cond):
        return jnp.full_like(x, sigma / 8) * cond[:, None, None, None]

    plan = ej.make_plan(ej.samplers.euler(), [6.0, 4.0, 2.0, 1.0, 0.0])
    cond = jnp.asarray([1.0, -1.0])
    ax = ej.plot.preview(denoise, plan, jnp.ones((2, 2, 3, 1)), cond=cond, columns=2)
    picture = np.asarray(ax.images[0].get_array())
    # Evaluations 0 and 3: the levels 6 and 1. Lines of zeros lie between the images.
    blocks = np.array([[6, 1], [-6, -1]]) / 8
    expected = np.kron(blocks, np.pad(np.ones((2, 3)), ((0, 1), (0, 1))))[:-1, :-1]
    np.testing.assert_allclose(picture, expected, rtol=1e-6)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["6", "1"]
    np.testing.assert_allclose(ax.get_xticks(), [1, 5])  # the middle pixel of each
    every = ej.plot.preview(denoise, plan, jnp.ones((1, 2, 3, 1)), cond=cond[:1], columns=9)
    assert [label.get_text() for label in every.get_xticklabels()] == ["6", "4", "2", "1"]


def test_errors_are_drawn_against_evaluations_in_order():
    runs = {
        "heun": [(35, 1e-3), (9, 0.1), (5, math.nan)],
        "euler": [(8, 0.2), (99, 0.0), (12, -1e-3)],
    }
    ax = ej.plot.work_precision(runs)
    heun, euler = lines(ax)
    np.testing.assert_array_equal(heun, [(9, 0.1), (35, 1e-3)])
    np.testing.assert_array_equal(euler, [(8, 0.2)])
    assert (ax.get_xscale(), ax.get_yscale(), legend(ax)) == ("log", "log", ["heun", "euler"])


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_stand_in_reading_order(channels):
    x = images(5, channels)
    ax = ej.plot.samples(x, columns=3)
    picture = np.asarray(ax.images[0].get_array())
    assert picture.shape[:2] == (5, 11)  # with a line between
    expected = x[..., 0] if channels == 1 else (x + 1) / 2
    for i in range(5):
        row, column = divmod(i, 3)
        tile = picture[3 * row : 3 * row + 2, 4 * column : 4 * column + 3]
        np.testing.assert_allclose(tile, expected[i])
    assert ej.plot.samples(images(9)).images[0].get_array().shape == (8, 11)  # a square
    if channels == 1:
        assert ax.images[0].get_clim() == (-1, 1)


def test_values_beyond_the_range_are_its_ends():
    picture = ej.plot.samples(np.array([-7.0, 0.5, 3.0]).reshape(1, 1, 3, 1)).images[0].get_array()
    np.testing.assert_array_equal(picture, [[-1, 0.5, 1]])


CALLS = {
    "sigmas": lambda ax: ej.plot.sigmas([2.0, 1.0], ax=ax),
    "plan": lambda ax: ej.plot.plan(EULER, ax=ax),
    "trajectories": lambda ax: ej.plot.trajectories(MIXTURE, EULER, jnp.ones((2, 2)), ax=ax),
    "preview": lambda ax: ej.plot.preview(
        lambda x, sigma: x / 9, EULER, jnp.ones((1, 2, 2, 1)), ax=ax
    ),
    "work_precision": lambda ax: ej.plot.work_precision({"a": [(1, 1)]}, ax=ax),
    "samples": lambda ax: ej.plot.samples(images(2), ax=ax),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_function_draws_where_it_is_told_and_into_a_file(name, tmp_path, unchecked):
    given = Figure().subplots()
    assert CALLS[name](given) is given and given.has_data()
    own = CALLS[name](None)
    assert own.figure is not given.figure
    own.figure.savefig(tmp_path / "a.png")
    assert own.figure._repr_png_().startswith(b"\x89PNG")  # what a notebook asks for
    with pytest.raises(TypeError, match="`ax` must be an Axes of matplotlib"):
        CALLS[name](Figure())


def test_every_function_is_in_the_table():
    assert {name for name in ej.plot.__all__ if inspect.isfunction(getattr(ej.plot, name))} == set(
        CALLS
    )


def test_pyplot_is_not_loaded():
    code = """
import sys, edmjax as ej
ej.plot.sigmas([2.0, 1.0]).figure.canvas.draw()
assert "matplotlib.pyplot" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


PROCESS = ej.make_plan(ej.samplers.euler(), ej.processes.ddpm("linear").grid(4))
STACK = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), EULER)
ONES = jnp.ones((2, 2))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: ej.plot.sigmas({}), ValueError, "`grids` is empty"),
        (lambda: ej.plot.sigmas([[1.0]]), ValueError, "one row of levels"),
        (
            lambda: ej.plot.sigmas({"a": [1.0, math.nan]}),
            ValueError,
            "The grid 'a' must be.*got nan",
        ),
        (lambda: ej.plot.sigmas([1.0, -1.0]), ValueError, r"none below zero.*got -1\.0"),
        (lambda: ej.plot.sigmas([]), ValueError, "one row of levels"),
        (lambda: jax.jit(ej.plot.sigmas)(jnp.ones(2)), TypeError, "draw outside of `jit`"),
        (lambda: ej.plot.plan(STACK), ValueError, "is a stack of plans"),
        (lambda: ej.plot.plan([1.0]), TypeError, "must be a Plan"),
        (lambda: jax.jit(ej.plot.plan)(EULER), TypeError, "draw outside of `jit`"),
        (lambda: ej.plot.trajectories(MIXTURE, EULER, jnp.ones((2, 3))), ValueError, r"\(2, 3\)"),
        (
            lambda: ej.plot.trajectories(MIXTURE, EULER, ONES, sigma_data=0.0),
            ValueError,
            "above 0; got 0.0",
        ),
        (lambda: ej.plot.trajectories(MIXTURE, PROCESS, ONES), ValueError, "`grid.sigmas`"),
        (lambda: ej.plot.preview(MIXTURE, EULER, ONES), ValueError, r"got \(2, 2\)"),
        (
            lambda: ej.plot.preview(MIXTURE, EULER, jnp.ones((1, 2, 2, 1)), columns=0),
            ValueError,
            "at least 1, got 0",
        ),
        (
            lambda: jax.jit(lambda w: ej.plot.trajectories(MIXTURE, EULER, ONES, sigma_data=w))(
                1.0
            ),
            TypeError,
            "`sigma_data` is traced",
        ),
        (lambda: ej.plot.work_precision({}), ValueError, "`runs` is empty"),
        (lambda: ej.plot.work_precision({"a": [1, 2, 3]}), ValueError, "'a' must be a list"),
        (lambda: ej.plot.samples(images(2, 2)), ValueError, r"got \(2, 2, 3, 2\)"),
        (lambda: ej.plot.samples(images(0)), ValueError, "holds images"),
        (lambda: ej.plot.samples(images(2), columns=0), ValueError, "at least 1, got 0"),
    ],
)
def test_mistakes_are_sentences(call, error, words, unchecked):
    with pytest.raises(error, match=words):
        call()
