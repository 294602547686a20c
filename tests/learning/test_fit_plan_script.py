"""`edmjax fit-plan`, and the options of `edmjax sample` that take a plan."""

import dataclasses
import re

import numpy as np
import pytest
from support.runs import check_samples, run as run, script

import edmjax as ej
from edmjax.cli import fit_plan
from edmjax.training import levels_of

CHOICE = "chooses the sampler and its levels"


def sample(run, out, *options):
    common = ["--checkpoint", str(run), "--num-samples", "5", "--out", str(out)]
    script("sample")([*common, *options])
    return check_samples(out, 5)


@pytest.mark.parametrize(
    "options, phrase",
    [
        (["--nfe", "4", "--plan", "x.json"], "--plan and --nfe each choose"),
        (["--nfe", "4", "--sampler", "heun"], f"--nfe {CHOICE}, so .* with --sampler: leave"),
        (["--plan", "x.json", "--num-steps", "18"], f"--plan {CHOICE}, so .* with --num-steps"),
        (["--nfe", "4", "--schedule", "karras", "--num-steps", "3"], "--schedule, --num-steps"),
        (["--nfe", "0"], "--nfe: must be an integer of at least 1, got '0'"),
        (["--plan", "nowhere.json"], "There is no plan to read at nowhere.json"),
    ],
)
def test_options_that_exclude_each_other_get_a_sentence(run, tmp_path, capsys, options, phrase):
    with pytest.raises(SystemExit) as end:
        sample(run, tmp_path / "out", *options)
    said = capsys.readouterr().err
    assert re.search(phrase, f"{end.value} {said}"), said
    assert not (tmp_path / "out").exists()


def test_nfe_is_the_recommended_plan_and_a_plan_is_its_file(run, tmp_path):
    plan = ej.make_plan(*ej.recommend(4, **levels_of(run)._asdict()))
    plan.save(tmp_path / "plan.json")
    by_nfe = sample(run, tmp_path / "nfe", "--nfe", "4")
    by_plan = sample(run, tmp_path / "plan", "--plan", str(tmp_path / "plan.json"))
    np.testing.assert_array_equal(by_nfe, by_plan)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(by_nfe, sample(run, tmp_path / "default"), atol=1e-3)


def test_a_plan_beyond_the_levels_of_the_network_gets_a_sentence(run, tmp_path):
    ej.make_plan(ej.samplers.heun(), [500.0, 1.0, 0.0]).save(tmp_path / "far.json")
    phrase = "levels from 1 to 500, and the network in .* is for those from 0.002 to 80: fit a plan"
    with pytest.raises(SystemExit, match=phrase):
        sample(run, tmp_path / "out", "--plan", str(tmp_path / "far.json"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_plan_is_fitted_written_and_sampled_with(run, tmp_path, capsys):
    out = tmp_path / "new" / "plan.json"
    noises = ["--num-noises", "32", "--test-noises", "8", "--updates", "6"]
    fit_plan.main(["--checkpoint", str(run), "--nfe", "3", "--out", str(out), *noises])
    said = capsys.readouterr().out
    assert "recommended" in said and "DPM++(2M) on Karras" in said and "Of 8 fresh noises" in said
    plan = ej.Plan.load(out)
    assert plan.nfe == 3 and plan.about.budget == 3 and "8 fresh ones" in plan.about.fitted_on
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    plain = dataclasses.replace(plan, about=type(plan.about)())
    plain.save(tmp_path / "plain.json")
    np.testing.assert_array_equal(
        sample(run, tmp_path / "a", "--plan", str(out)),
        sample(run, tmp_path / "b", "--plan", str(tmp_path / "plain.json")),
    )


@pytest.mark.parametrize(
    "options, phrase",
    [
        (["--out", "plan.png"], "such as plan.json"),
        (["--test-noises", "0"], "--test-noises: must be an integer of at least 1, got '0'"),
        (["--num-noises", "8"], "--num-noises: must be an integer of at least 16, got '8'"),
        (["--updates", "-1"], "--updates: must be an integer of at least 0, got '-1'"),
        (["--batch-size", "2"], "--batch-size: must be an integer of at least 4, got '2'"),
    ],
)
def test_mistakes_are_sentences(options, phrase, capsys):
    with pytest.raises(SystemExit) as error:
        fit_plan.main(["--checkpoint", "nowhere", "--nfe", "3", "--out", "p.json", *options])
    assert phrase in f"{error.value} {capsys.readouterr().err}"
