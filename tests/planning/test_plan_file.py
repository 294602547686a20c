"""`Plan.save` and `Plan.load`: the same bits, and a sentence for every file that is no plan."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import ALL, mixture

import edmjax as ej
from edmjax import samplers as s
from edmjax.planning.file import _checksum
from edmjax.planning.table import About
from edmjax.schedules import karras

HEUN = ej.make_plan(s.heun(), karras(4))


def bits(plan):
    return [(v.dtype, v.shape, np.asarray(v).tobytes()) for v in jax.tree.leaves(plan)]


def there_and_back(plan, path, **about):
    plan.save(path, **about)
    return ej.Plan.load(path)


@pytest.mark.parametrize("name", ALL)
def test_the_bits_of_every_sampler(name, tmp_path):
    plan = ej.make_plan(ALL[name][0](), karras(5))
    loaded = there_and_back(plan, tmp_path / "plan.json")
    assert bits(loaded) == bits(plan)
    assert jax.tree.structure(loaded) == jax.tree.structure(plan)
    assert all(isinstance(v, np.ndarray) for v in jax.tree.leaves(loaded))


def test_the_bits_of_floats_that_are_hard_to_write(tmp_path):
    hard = [5e-324, -0.0, 1.7976931348623157e29, 0.1, 1 / 3, np.nextafter(1.0, 2), 2.0**-1022]
    rows = np.resize(hard, HEUN.d.shape)
    for dtype in (np.float64, np.float32):
        with np.errstate(over="ignore"):
            d = np.where(np.isfinite(rows.astype(dtype)), rows, 1.0).astype(dtype)
        plan = dataclasses.replace(HEUN, d=d)
        assert bits(there_and_back(plan, tmp_path / "plan.json")) == bits(plan)


def test_scales_raws_learned_variances_and_infinity(tmp_path):
    def step(x, at):
        denoised, raw = at.denoise(x, at.sigma, raw=True)
        if at.last:
            return denoised
        return denoised + 0.1 * raw + at.sigma_next * at.noise(log_var=0.3)

    levels = ej.processes.Levels(
        np.array([np.inf, 3.0, 0.5, 0.0]), np.array([1.0, 0.7, 0.2, 0.0]), ej.processes.flow()
    )
    plan = ej.make_plan(step, levels)
    assert plan.grid[0] == math.inf and len(jax.tree.leaves(plan)) == 11
    assert bits(there_and_back(plan, tmp_path / "plan.json")) == bits(plan)
    json.loads((tmp_path / "plan.json").read_text(), parse_constant=pytest.fail)  # strict JSON


def test_a_plan_of_jax_arrays_that_was_made_under_jit(tmp_path):
    grid = jnp.asarray(karras(4)[:-1], jnp.float32)
    plan = jax.jit(lambda g: ej.make_plan(s.ddim(0.5), g, ends_at_zero=False))(grid)
    assert bits(there_and_back(plan, tmp_path / "plan.json")) == bits(plan)


def test_the_same_samples(tmp_path):
    plan = ej.make_plan(s.ddpm(), karras(5))
    x, key = 80 * jax.random.normal(jax.random.key(0), (4, 2)), jax.random.key(1)
    loaded = there_and_back(plan, tmp_path / "plan.json", fitted_on="P2")
    expected = ej.sample(mixture(), plan, x, key)
    np.testing.assert_array_equal(ej.sample(mixture(), loaded, x, key), expected)


# ---- what it was fitted on

FITTED = {
    "fitted_on": "P2, 512 noises",
    "validation_error": 0.1 + 0.2,
    "budget": 8,
    "sigma_range": (0.002, 80.0),
}


def test_what_a_plan_was_fitted_on_is_kept_and_printed(tmp_path):
    loaded = there_and_back(HEUN, tmp_path / "plan.json", **FITTED)
    assert dataclasses.asdict(loaded.about) == FITTED
    assert "fitted on P2, 512 noises; validation error 0.3; budget 8 evaluations" in repr(loaded)
    assert "levels 0.002 to 80" in repr(loaded) and "4 steps, 7 evaluations" in repr(loaded)
    assert "fitted" not in repr(HEUN) and "levels" not in repr(HEUN)
    again = there_and_back(loaded, tmp_path / "again.json", budget=7)
    assert dataclasses.asdict(again.about) == FITTED | {"budget": 7}


def test_a_description_is_no_part_of_a_program(tmp_path):
    loaded = there_and_back(HEUN, tmp_path / "plan.json", **FITTED)
    assert jax.tree.structure(loaded) == jax.tree.structure(HEUN)
    assert hash(jax.tree.structure(loaded)) == hash(jax.tree.structure(HEUN))
    assert jax.tree.map(lambda v: v, loaded).about.budget == 8


def declared(*levels):
    def denoise(x, sigma):
        return x

    denoise.sigma_range = levels
    return denoise


def test_a_fitted_plan_is_for_one_range(tmp_path):
    loaded = there_and_back(HEUN, tmp_path / "plan.json", **FITTED)
    loaded.check_range(lambda x, sigma: x)
    loaded.check_range(declared(0.002, 80))
    loaded.check_range(declared(np.float32(0.002), jnp.float32(80)))
    for low, high in ((0.002, 81.0), (0.001, 80.0), (0.01, 50.0), (0.0, math.inf)):
        with pytest.raises(ValueError, match=r"fitted for noise levels from 0.002 to 80, and the"):
            loaded.check_range(declared(low, high))
    with pytest.raises(ValueError, match=r"fitted for noise levels from 0.002 to 80, and the"):
        ej.sample(declared(0.01, 50.0), loaded, jnp.ones((2, 3)))
    everywhere = there_and_back(HEUN, tmp_path / "all.json", sigma_range=(0.0, math.inf))
    everywhere.check_range(declared(0.0, math.inf))


def test_another_plan_is_for_any_range_that_its_levels_are_in():
    HEUN.check_range(declared(0.002, 80))
    HEUN.check_range(declared(0.0, math.inf))
    for low, high in ((0.002, 50.0), (0.01, 80.0)):
        with pytest.raises(ValueError, match=r"has noise levels from 0.002 to 80, and the denoi"):
            HEUN.check_range(declared(low, high))
    for bad in ((80, 0.002), (1, 2, 3), (math.nan, 1)):
        with pytest.raises(ValueError, match=r"must be \(lowest, highest\) noise level, got"):
            HEUN.check_range(declared(*bad))


@pytest.mark.parametrize(
    "about, words",
    [
        ({"fit": "P2"}, "fitted_on, validation_error, budget, sigma_range; got 'fit'"),
        ({"fitted_on": 3}, "`fitted_on` must be text"),
        ({"validation_error": "small"}, "`validation_error` must be a number"),
        ({"validation_error": math.nan}, "`validation_error` must be finite"),
        ({"budget": 7.5}, "`budget` must be an integer, got 7.5"),
        ({"budget": 0}, "`budget` must be at least 1"),
        ({"sigma_range": (80.0, 0.002)}, "`sigma_range` must be"),
    ],
)
def test_a_bad_description_gets_a_sentence(about, words, tmp_path):
    with pytest.raises((TypeError, ValueError), match=words):
        HEUN.save(tmp_path / "plan.json", **about)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_and_jax_describe_too(tmp_path):
    about = {"validation_error": jnp.float32(0.5), "budget": np.int64(8), "sigma_range": [1, 2]}
    loaded = there_and_back(HEUN, tmp_path / "plan.json", **about)
    assert dataclasses.asdict(loaded.about) == dataclasses.asdict(About("", 0.5, 8, (1.0, 2.0)))


# ---- plans that cannot be saved


@pytest.mark.parametrize(
    "change, words",
    [
        ({"d": HEUN.d * math.nan}, "`plan.d` holds NaN"),
        ({"d": HEUN.d[:-1]}, "has no `d` of shape"),
        ({"draws": HEUN.draws.astype(np.int64)}, "`plan.draws` must be of dtype int32, got int64"),
        ({"y": HEUN.y.astype(np.float16)}, "`plan.y` must be of dtype float64 or float32"),
        ({"sigmas": np.stack([HEUN.sigmas, HEUN.sigmas])}, "has no `sigmas` of shape"),
    ],
)
def test_a_plan_that_is_none_is_not_written(change, words, tmp_path):
    with pytest.raises((TypeError, ValueError), match=words):
        dataclasses.replace(HEUN, **change).save(tmp_path / "plan.json")
    assert not list(tmp_path.iterdir())


def test_a_traced_plan_has_no_numbers(tmp_path):
    with pytest.raises(TypeError, match=r"is traced, and under jit it has no value: return the"):
        jax.jit(lambda plan: plan.save(tmp_path / "plan.json"))(HEUN)


def test_an_old_file_stays_where_the_new_one_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match=r"could not be written to .*: No such file or directory"):
        HEUN.save(tmp_path / "nowhere" / "plan.json")
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(OSError, match="Choose another file"):
        HEUN.save(tmp_path / "plan.json")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


# ---- files that are no plans


def edited(change):
    """A file whose JSON was changed by hand, and whose checksum was not."""

    def edit(text):
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return edit


def put(name, key, value):
    return edited(lambda content: content[name].__setitem__(key, value))


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda text: text[:-20], "is damaged or no plan, as it is not JSON"),
        (lambda text: "", "is damaged or no plan, as it is not JSON"),
        (lambda text: "[" * 100000, "is damaged or no plan, as it is not JSON"),
        (lambda text: "[1, 2]", r"is no plan: `Plan.save` writes one"),
        (lambda text: '{"a": 1}', r"is no plan: `Plan.save` writes one"),
        (edited(lambda c: c.update(version=2)), "version 2 of the format, and this edmjax reads"),
        (edited(lambda c: c.pop("version")), "has version None of the format"),
        (edited(lambda c: c.pop("draws")), "'draws' is missing"),
        (edited(lambda c: c.update(y=None)), "`y` does not hold what its shape says"),
        (edited(lambda c: c.update(grid=[1.0, 0.0])), "`grid` does not hold what its shape says"),
        (put("y", "shape", [8, 3]), "`y` does not hold what its shape says"),
        (put("y", "shape", [4, 4]), r"has no `y` of shape \[4, 4\]"),
        (edited(lambda c: c["y"]["values"].pop()), "`y` does not hold what its shape says"),
        (put("z", "shape", [8, -1]), "`z` does not hold what its shape says"),
        (edited(lambda c: c["d"]["values"].__setitem__(2, 0.25)), "by its checksum"),
        (edited(lambda c: c["d"]["values"].__setitem__(2, math.nan)), "`d` holds nan"),
        (edited(lambda c: c["about"].update(budget=99)), "by its checksum"),
        (edited(lambda c: c.pop("sha256")), "by its checksum"),
    ],
)
def test_a_file_that_is_no_plan_gets_a_sentence(damage, words, tmp_path):
    path = tmp_path / "plan.json"
    HEUN.save(path)
    text = path.read_text()
    changed = damage(text)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(ValueError, match=words) as caught:
        ej.Plan.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "name, key, value, words",
    [
        ("d", "dtype", "complex64", "cannot be of dtype 'complex64'"),
        ("draws", "dtype", "float64", "cannot be of dtype 'float64'"),
        ("step", "values", [0, 0, 1, 1, 2, 2, 2.5], "`step` holds 2.5"),
        ("step", "values", [0, 0, 1, 1, 2, 2, 2**40], "is damaged"),
        ("sigmas", "values", [80.0, 3, 2, 1, 1, 1, "1.0"], "`sigmas` holds '1.0'"),
        ("sigmas", "values", [80.0, 3, 2, 1, 1, 1, True], "`sigmas` holds True"),
        ("sigmas", "values", [80.0, 3, 2, 1, 1, 1, 10**400], "is damaged"),
        ("about", "budget", "many", "`budget` must be an integer"),
        ("about", "mood", "good", "got 'mood'"),
        ("sigmas", "values", [80.0, 3, 2, 1, 1, 1, -1.0], "holds -1 in `sigmas`"),
        ("sigmas", "values", [80.0, 3, 2, 1, 1, 1, "inf"], "numbers in `sigmas` that are not fin"),
        ("grid", "values", [80.0, 3.0, 3.0, 1.0, 0.0], "`grid` that goes neither down"),
        ("grid", "values", [80.0, 3.0, "inf", 1.0, 0.0], "numbers in `grid` that are not finite"),
        ("sigmas", "values", [0.0] * 7, "has `sigmas` up to 0, and a `grid` up to 80"),
        ("sigmas", "values", [1e9, 3, 3, 2, 2, 1, 1], "has `sigmas` up to 1e.09, and a `grid` up"),
        ("y", "values", ["inf"] * HEUN.y.size, "numbers in `y` that are not finite"),
        ("y", "values", [1e308] * HEUN.y.size, "holds 1e.308 in `y`, which no sampler gives"),
        ("d", "values", ["inf"] * HEUN.d.size, "numbers in `d` that are not finite"),
        ("step", "values", [0, 0, 1, 1, 2, 2, 9], "numbers in `step` that are not those of 4"),
        ("step", "values", [0, 2, 1, 1, 2, 2, 3], "numbers in `step` that are not those of 4"),
    ],
)
def test_another_program_may_write_plans_and_is_told_its_mistakes(
    name, key, value, words, tmp_path, monkeypatch
):
    """With the checksum that belongs to the content: what is wrong is the content."""
    path = tmp_path / "plan.json"
    HEUN.save(path)
    content = json.loads(path.read_text())
    content[name][key] = value

    content["sha256"] = _checksum(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        ej.Plan.load(path)


@pytest.mark.parametrize("name", ["y", "d", "sigmas"])
def test_a_plan_that_could_not_be_read_is_not_written(name, tmp_path):
    wrong = dataclasses.replace(HEUN, **{name: np.full_like(getattr(HEUN, name), np.inf)})
    with pytest.raises(ValueError, match=f"numbers in `{name}` that are not finite"):
        wrong.save(tmp_path / "plan.json")
    assert not (tmp_path / "plan.json").exists()


def test_numbers_of_draws_without_room_are_refused(tmp_path):
    """`num_draws` is the highest of them, and the noise of as many is made."""
    plan = ej.make_plan(s.euler_maruyama(), karras(4))
    draws = plan.draws.copy()
    draws[1] = 2**31 - 2
    with pytest.raises(ValueError, match="numbers its draws beyond the 5"):
        dataclasses.replace(plan, draws=draws).save(tmp_path / "plan.json")


def test_what_a_file_says_is_printed_and_obeyed_by_no_terminal(tmp_path):
    text = "noise\x1b[2J\x1b]0;title\x07\u202e\r\n" + "long " * 10**5
    loaded = there_and_back(HEUN, tmp_path / "plan.json", fitted_on=text)
    assert loaded.about.fitted_on == text
    shown = repr(loaded)
    assert all(c.isprintable() for c in shown.replace("\n", ""))
    assert r"fitted on noise\x1b[2J\x1b]0;title\x07\u202e\r\nlong" in shown and len(shown) < 5000
    assert len(shown.splitlines()) == len(repr(HEUN).splitlines()) + 1


def test_no_file(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(OSError, match="There is no plan to read at") as caught:
            ej.Plan.load(path)
        assert str(path) in str(caught.value)
    (tmp_path / "noise.json").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="not JSON"):
        ej.Plan.load(tmp_path / "noise.json")


def test_the_checksum_is_sha256_of_the_sorted_rest(tmp_path):
    import hashlib

    HEUN.save(tmp_path / "plan.json")
    content = json.loads((tmp_path / "plan.json").read_text())
    found = content.pop("sha256")
    rest = json.dumps(content, sort_keys=True).encode()
    assert found == hashlib.sha256(rest).hexdigest()
    assert content["sigmas"]["values"] == HEUN.sigmas.tolist()
