"""`edmjax compare`: a small run, interrupted and resumed; its numbers; its mistakes."""

import csv
import dataclasses
import json
import math
import pathlib

import diffrax
import jax
import numpy as np
import pytest
from support.helpers import compilations, final

import edmjax as ej
from edmjax.cli import compare
from edmjax.comparison import methods, plans, results, runs, tables, targets
from edmjax.evaluation.report import Table, claim


@pytest.fixture
def main(monkeypatch):
    """The command, with a plan of 60 steps as the reference."""

    def reference(target, cached):
        plan = ej.make_plan(ej.samplers.unipc(), ej.schedules.logistic(61, final_zero=False))
        return np.asarray(ej.sample(target.denoise, plan, target.x))

    monkeypatch.setattr(runs, "reference", reference)
    return compare.main


SMALL = ["--problems", "P1", "--samples", "6", "--distance-samples", "0", "--budgets", "4", "8"]
PLANS = [*SMALL, "--kinds", "plan", "--schedules", "karras"]
TWO = [*PLANS, "--samplers", "euler", "heun"]


@pytest.mark.slow
def test_an_interrupted_run_resumes_where_it_stopped(main, monkeypatch, tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    made, calls = runs.Comparison._result, []

    def interrupted(self, key, series):
        calls.append(key)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return made(self, key, series)

    monkeypatch.setattr(runs.Comparison, "_result", interrupted)
    with pytest.raises(SystemExit) as stop:
        main([*TWO, *out])
    said = capsys.readouterr().err
    assert stop.value.code == 130 and "2/4" in said and "the same command resumes" in said
    file = tmp_path / "compare.csv"
    before = file.read_text()
    assert len(before.splitlines()) == 3 and not (tmp_path / "compare.md").exists()

    file.write_text(before + "P1,plan,heun,kar")  # as when the power fails
    main([*TWO, *out])
    after = file.read_text()
    assert after.startswith(before) and len(calls) == 5
    assert [line.split(",")[:5] for line in after.splitlines()[1:]] == [
        ["P1", "plan", sampler, "karras", budget]
        for sampler in ("euler", "heun")
        for budget in ("4", "8")
    ]
    main([*TWO, *out])  # nothing is left to run
    assert file.read_text() == after and len(calls) == 5
    assert "| `heun` |" in (tmp_path / "compare.md").read_text()
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "compare.svg").read_text()

    changed = [*TWO, *out, "--samples", "7"]
    with pytest.raises(SystemExit, match=r"samples is 6 there and 7 here.*another directory"):
        main(changed)
    (tmp_path / "compare.json").unlink()
    with pytest.raises(SystemExit, match="which says how it was made"):
        main([*TWO, *out])


def test_an_interrupt_before_the_first_run_is_no_traceback(main, monkeypatch, tmp_path, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "problem", interrupted)
    with pytest.raises(SystemExit) as stop:
        main([*TWO, "--out", str(tmp_path / "out")])
    assert stop.value.code == 130
    assert "stopped; the same command resumes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_row_holds_the_error_against_the_reference(main, tmp_path, x64):
    main([*PLANS, "--samplers", "heun", "--out", str(tmp_path)])
    target = targets.problem("P1", 6, 0)
    made = [
        ej.make_plan(sampler, grid)
        for sampler, grid in (
            (ej.samplers.heun(), ej.schedules.karras(5, final_zero=False)),
            (ej.samplers.unipc(), ej.schedules.logistic(61, final_zero=False)),
        )
    ]
    ours, fine = (np.asarray(ej.sample(target.denoise, plan, target.x)) for plan in made)
    table = Table(tmp_path / "compare.csv", results.Result.__annotations__, results.NUM_KEYS)
    first, row = (results.Result(**row) for row in table.rows.values())
    assert (row.setting, row.evaluations, row.evaluations_max) == (8, 8, 8)
    each = np.sqrt(((ours - fine) ** 2).mean(axis=1))
    np.testing.assert_allclose(row.rms, np.sqrt((each**2).mean()), rtol=1e-4)
    np.testing.assert_allclose(row.median, np.median(each), rtol=1e-4)
    np.testing.assert_allclose(row.diverged, (each > 0.25 * 0.708).mean(), rtol=1e-5)
    assert row.seconds > 0 and row.compile_seconds > 0 and math.isnan(row.energy)
    assert first.setting == 4 and first.compile_seconds == row.compile_seconds  # one program


def test_errors_of_samples_that_are_lost():
    reference = np.zeros((4, 2))
    x0 = np.array([[0.1, 0.1], [0.3, -0.3], [0.2, 0.2], [np.nan, 0.0]])
    found = results.errors(x0, reference, sigma_data=1.0)
    assert found == {"rms": np.inf, "median": pytest.approx(0.25), "diverged": 0.5}


def test_evaluations_at_an_error_are_read_off_the_lower_envelope():
    result = results.Result
    points = [(10.0, 1e-1), (15.0, 3.0), (40.0, 1e-3), (60.0, 1e-2), (100.0, np.inf)]
    rows = [result("P1", "plan", "heun", "karras", n, 0.0, n, n, rms=e) for n, e in points]
    # Between (10, 1e-1) and (40, 1e-3) the error falls as evaluations^(-2 / log10(4)).
    assert tables.cost_at(rows, 1e-2, "rms") == pytest.approx(20)
    assert math.isnan(tables.cost_at(rows, 1e-4, "rms"))
    assert math.isnan(tables.cost_at(rows, 0.5, "rms"))


def test_a_budget_buys_as_many_steps_as_it_can():
    within = plans.plan_within
    levels = lambda steps: methods.levels("karras", steps + 1, 0.5)  # noqa: E731
    restarts = ej.samplers.restart(ej.samplers.heun(), [(0.05, 2.0, 3, 1)])
    for sampler, budget, evaluations in (
        (ej.samplers.euler(), 5, 5),
        (ej.samplers.heun(), 5, 4),
        (ej.terms.from_diffrax(diffrax.Dopri8()), 40, 39),
        (restarts, 21, 20),
    ):
        assert within(sampler, levels, budget).nfe == evaluations
    assert within(ej.samplers.heun(), levels, 1) is None


@pytest.fixture
def some_plans():
    """Plans of a few budgets that look back 1 to 13 evaluations, and two that draw noise."""
    series, target = methods.Series, targets.problem("P1", 6, 0)
    budgets = (5.0, 13.0, 14.0)
    made = [series("plan", name, "karras", budgets) for name in ("euler", "heun", "lms")]
    made += [
        series("diffrax-fixed", name, f"t, {schedule}", budgets)
        for name in ("Tsit5", "Dopri8")
        for schedule in ("karras", "logistic")
    ]
    made += [
        series("stochastic", name, "karras", budgets, size)
        for name in ("er_sde", "dpmpp_sde", "heun")
        for size in (0.0, 0.3)
    ]
    return made, target, plans.plan_runs(made, target, target.x[:4], seed=2)


@pytest.mark.slow
def test_plans_share_programs_by_how_far_they_look_back_and_whether_they_draw(x64, some_plans):
    series, _, made = some_plans
    found = [run for one in series for n in one.settings if (run := made.get((one, n))) is not None]
    with compilations() as count:
        for run in found:
            final(run.call())
    # 4, 8 and 16 evaluations; with noise and without, around each of two denoisers.
    assert len(count) == len({run.program for run in found}) == 3 + 2 * 2
    assert len(found) > 25


@pytest.mark.slow
def test_a_run_of_a_plan_is_that_of_sample(x64, some_plans):
    series, target, made = some_plans
    for one in series:
        bought = plans.plans_of(one, target.sigma_data)
        x = target.x[:4] if one.kind == "stochastic" else target.x
        denoise = targets.perturbed(target, one.perturbation)
        assert bought
        for budget, plan in bought.items():
            x0, evaluations = made[one, budget].call()
            assert evaluations == plan.nfe <= budget
            expected = ej.sample(denoise, plan, x, jax.random.key(2) if plan.num_draws else None)
            # The step to 0.002 magnifies what 80 is rounded to.
            np.testing.assert_allclose(x0, expected, rtol=0, atol=1e-10)


def test_a_budget_that_buys_no_step_or_no_more_has_no_run():
    target = targets.problem("P1", 6, 0)
    budgets = (5.0, 13.0, 14.0)
    # Tsit5 takes six evaluations a step.
    tsit5 = methods.Series("diffrax-fixed", "Tsit5", "t, karras", budgets)
    made = plans.plan_runs([tsit5], target, target.x[:4], seed=2)
    assert [(tsit5, n) not in made for n in budgets] == [True, False, True]


def test_schedules_get_the_width_of_the_data():
    levels = methods.levels
    wide = ej.schedules.theta(5, sigma_data=0.7, final_zero=False)
    np.testing.assert_array_equal(levels("theta", 5, 0.7), wide)
    np.testing.assert_array_equal(levels("theta(sigma_data=0.7)", 5, 0.5), wide)
    tight = ej.schedules.logistic(5, scale=1.0, sigma_data=0.7, final_zero=False)
    np.testing.assert_array_equal(levels("logistic(scale=1.0)", 5, 0.7), tight)


@pytest.mark.thorough
def test_the_perturbation_is_an_error_of_the_networks_output(x64):
    target = targets.problem("P1", 512, 0)
    assert targets.perturbed(target, 0.0) is target.denoise
    off = targets.perturbed(target, 0.1)
    for sigma in (0.01, 0.5, 20.0):
        x = target.law.sample(jax.random.key(1), 512, sigma=sigma)
        c_out = sigma * target.sigma_data / math.hypot(sigma, target.sigma_data)
        error = np.asarray(off(x, sigma) - target.denoise(x, sigma)) / c_out
        assert 0.07 < np.sqrt((error**2).mean()) < 0.13
        moved = np.asarray(off(x + 1e-6, sigma) - target.denoise(x + 1e-6, sigma)) / c_out
        assert np.abs(moved - error).max() < 1e-5 / c_out  # smooth, and the same at every call


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["--problems"], "nothing to solve"),
        (["--samplers", "huen"], "Did you mean 'heun'"),
        (["--samplers", "ancestral(euler)"], "name it in --noisy-samplers"),
        (["--schedules", "karras(sigma_max=20)"], "from 80 to 0.002"),
        (["--adaptive", "adaptive(ordre=3)"], "is not an adaptive sampler"),
        (["--adaptive", "adaptive(order=9)"], "`order` must be from 1 to 4"),
        (["--solvers", "Tsit6"], "invalid choice: 'Tsit6'"),
        (["--budgets", "0"], "`--budgets` must be at least 1"),
        (["--samples", "1"], "`--samples` must be at least 4"),
        (["--tolerance-step", "0"], "`--tolerance-step` must be in (0, 7]"),
        (["--checkpoint", "/nowhere"], "There is no"),
        (["--kinds", "plans"], "invalid choice: 'plans'"),
        (["--problems", "P4"], "invalid choice: 'P4'"),
        (["--kinds"], "no method to run"),
        (["--budgets"], "no method to run"),
        (["--seed", "-1"], "`--seed` must be from 0"),
        (["--perturbation", "inf"], "`--perturbation` must be at least 0 and finite"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_written(
    main, arguments, phrase, tmp_path, capsys
):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        main([*TWO, "--out", str(out), *arguments])
    assert stop.value.code
    assert phrase in capsys.readouterr().err + str(stop.value)
    assert not out.exists()


ROW = "P1,plan,euler,karras,4,0" + 11 * ",1"


@pytest.mark.parametrize(
    "text, configuration, phrase",
    [
        ("problem,kind\n", {}, "another version wrote it: choose another directory"),
        ("{head}\n", {"edmjax": "0.0.1"}, "edmjax is '0.0.1' there"),
        ("{head}\n", {"jax": None}, "jax is None there"),
        (f"{{head}}\n{ROW}\nP1,plan\n", {}, "Line 3 of .* is damaged"),
        (f"{{head}}\n{ROW.replace('4', 'four')}\n", {}, "Line 2 of .* is damaged"),
        ("{head}\n", "[", "compare.json is damaged"),
        ("{head}\n", "[1]", "compare.json is damaged"),
    ],
)
def test_a_file_that_is_no_such_file_is_refused(text, configuration, phrase, tmp_path):
    path, now = tmp_path / "compare.csv", {"edmjax": "1", "jax": "2"}
    columns = results.Result.__annotations__
    path.write_text(text.format(head=",".join(columns)))
    before = configuration if isinstance(configuration, str) else json.dumps(now | configuration)
    path.with_suffix(".json").write_text(before)
    with pytest.raises(ValueError, match=phrase):
        claim(path.with_suffix(".json"), now, path)
        Table(path, columns, results.NUM_KEYS)
    assert path.read_text() == text.format(head=",".join(columns))


def test_a_directory_that_cannot_be_written_is_named(main, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "file/below"):
        with pytest.raises(SystemExit, match=f"{name} cannot be written to.*another directory"):
            main([*TWO, "--out", str(tmp_path / name)])


@pytest.mark.slow
def test_every_kind_of_method_has_rows(main, tmp_path):
    small = ["--samples", "6", "--distance-samples", "32", "--noisy-budgets", "8"]
    some = ["--noisy-samplers", "sa_solver", "--tolerance-step", "3", "--solvers", "Bosh3"]
    main([*TWO, "--kinds", *methods.KINDS, *small, *some, f"--out={tmp_path}"])
    lines = list(csv.reader((tmp_path / "compare.csv").read_text().splitlines()))
    fields, rows = lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert {row["kind"] for row in rows} == set(methods.KINDS)
    for row in rows:
        taken = "sliced_w2" if row["kind"] in ("stochastic", "diffrax-sde", "exact") else "median"
        assert math.isfinite(float(row[taken])) and len(row) == len(fields)
        assert row["kind"] == "exact" or float(row["evaluations"]) >= 1
    forms = {row["path"] for row in rows if row["kind"] == "diffrax-adaptive"}
    assert forms == {"theta", "log_sigma", "sigma", "t"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Euler", "Heun", "ShARK", "SRA1", "SEA", "SlowRK"])
def test_drift_evaluations_of_a_step_are_those_that_are_made(name, x64):
    calls = []

    def denoise(x, sigma):
        jax.debug.callback(lambda: calls.append(1))
        return x / (1 + sigma**2)

    x = 80 * jax.numpy.ones((2, 1))
    start, end = ej.terms.sde_times(ej.processes.ve(0.002, 80.0), [80.0, 0.002], x)
    step = (end - start) / 5
    denoise = jax.tree_util.Partial(denoise)
    out = methods._solve_sde(denoise, x, jax.random.key(0), step, name=name, most=6)
    jax.block_until_ready(out)
    jax.effects_barrier()
    assert len(calls) == 5 * methods.drifts_a_step(getattr(diffrax, name)())


@pytest.mark.slow
def test_the_reference_is_the_golden_solution(tmp_path, x64):
    golden = np.load(pathlib.Path(__file__).parents[1] / "support" / "golden" / "few_step.npz")
    for name in ("P1", "P2"):
        target = targets.problem(name, 4, 0)
        x = jax.numpy.asarray(golden[f"{name}_x_start"][:4])
        target = dataclasses.replace(target, x=x)
        found = targets.reference(target, tmp_path / f"{name}.npz")
        np.testing.assert_allclose(found, golden[f"{name}_x_end"][:4], atol=1e-9)
        # From the file, and not from one of other starts.
        np.testing.assert_array_equal(targets.reference(target, tmp_path / f"{name}.npz"), found)
