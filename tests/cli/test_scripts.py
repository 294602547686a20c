"""The scripts as a user runs them, with a network and a run cut to seconds."""

import dataclasses
import pathlib
import re
import shutil
import signal

import numpy as np
import pytest
from support.helpers import later
from support.runs import TINY, check_samples, config, run as run, script

import edmjax as ej
from edmjax import training
from edmjax.cli import fit_plan
from edmjax.training import levels_of

ROOT = pathlib.Path(__file__).parents[2]


def test_training_writes_samples_and_everything_else(run):
    check_samples(run, 10)
    written = {path.name for path in run.iterdir()}
    assert {"config.yaml", "loss.csv", "loss.png", "weights.safetensors", "checkpoint"} <= written


def test_the_resolved_config_repeats_the_run(run, capsys):
    before = np.load(run / "samples.npz")["x"]
    script("train")([f"--config={run}/config.yaml"])
    np.testing.assert_array_equal(np.load(run / "samples.npz")["x"], before)


def test_sampling_from_a_run(run, tmp_path):
    common = ["--checkpoint", str(run), "--num-steps", "3", "--schedule", "karras(sigma_max=20)"]
    churn = ["--sampler", "churn(euler, s_churn=1)"]
    script("sample")([*common, *churn, "--num-samples", "5", "--out", str(tmp_path / "a")])
    five = check_samples(tmp_path / "a", 5)
    options = ["--num-samples", "3", "--chunk-size", "2", "--seed", "0"]
    script("sample")([*common, *churn, *options, "--out", str(tmp_path / "b")])
    np.testing.assert_allclose(check_samples(tmp_path / "b", 3), five[:3], atol=1e-5)
    with pytest.raises(SystemExit, match="is of 64 devices, and there are"):
        script("sample")([*common, "--mesh", "data=64", "--out", str(tmp_path / "c")])
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["--optim.stesp=4"], "--optim.stesp"),
        (["--optim.steps=many"], "optim.steps"),
        (["--net.name=unets"], "net.name"),
        (["--data=digit"], "Did you mean 'digits'"),
        (["--sample.sampler=huen"], "Did you mean 'heun'"),
        (["--data=mnist", "--data_dir=/nowhere"], "/nowhere holds neither"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_written(arguments, phrase, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        script("train")([f"--out={tmp_path}/run", *arguments])
    assert stop.value.code
    assert phrase in capsys.readouterr().err + str(stop.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_in_a_file_is_an_error(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("optim:\n  stesp: 3\n")
    with pytest.raises(SystemExit):
        script("train")([f"--config={tmp_path}/bad.yaml"])
    assert "stesp" in capsys.readouterr().err


def test_sampling_mistakes_are_sentences(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"There is no .*train a network first"):
        script("sample")(["--checkpoint", str(tmp_path), "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="Did you mean 'heun'"):
        script("sample")(["--checkpoint", str(run), "--sampler", "huen", "--out", str(tmp_path)])


@pytest.mark.parametrize("name, words", [("train", "--optim.steps"), ("sample", "churn(inner,")])
def test_help_lists_what_can_be_asked_for(name, words, capsys):
    with pytest.raises(SystemExit) as stop:
        script(name)(["--help"])
    assert stop.value.code == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_file_is_understood(path, tmp_path, capsys):
    with pytest.raises(SystemExit, match="nothing"):
        script("train")([f"--config={path}", "--data=nothing", f"--out={tmp_path}/run"])


def test_the_results_page_is_what_the_script_writes(tmp_path):
    """From the measured sets of samples that are kept beside it."""
    main, docs = script("results", "docs/make"), ROOT / "docs"
    page = (docs / "results.md").read_text(encoding="utf-8")
    empty, n = re.subn(r"(<!-- \w+ -->\n).*?(<!-- end -->)", r"\1\2", page, flags=re.S)
    assert n == 2 and "<!-- quality -->\n<!-- end -->" in empty
    (tmp_path / "results.md").write_text(empty, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"There is no .*samples\.csv: run edmjax evaluate"):
        main(["--evaluation", str(tmp_path)], docs=tmp_path)
    shutil.copy(docs / "mnist_samples.csv", tmp_path / "samples.csv")
    main(["--evaluation", str(tmp_path)], docs=tmp_path)
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == page
    assert (tmp_path / "mnist_quality.png").read_bytes().startswith(b"\x89PNG")


# ---- `edmjax fit-plan`, and the options of `edmjax sample` that take a plan

CHOICE = "chooses the sampler and its levels"


def sample(run, out, *options, read=True):
    common = ["--checkpoint", str(run), "--num-samples", "5", "--out", str(out)]
    script("sample")([*common, *options])
    return check_samples(out, 5) if read else None


def test_sampling_that_is_interrupted_goes_on(run, tmp_path, monkeypatch):
    options = ["--num-samples", "5", "--chunk-size", "2", "--num-steps", "3"]
    whole = sample(run, tmp_path / "whole", *options)
    drawn, draw = [], training.draw

    def stopped(*args, first, **rest):
        drawn.append(first)
        if len(drawn) == 2:
            signal.raise_signal(signal.SIGTERM)  # SIGINT is ignored in jobs in the background
        return draw(*args, first=first, **rest)

    monkeypatch.setattr(training, "draw", stopped)
    with pytest.raises(SystemExit) as end:
        sample(run, tmp_path / "parts", *options)
    assert end.value.code == 143 and not (tmp_path / "parts" / "samples.npz").exists()
    again = sample(run, tmp_path / "parts", *options)
    assert drawn == [0, 2, 4]
    np.testing.assert_array_equal(again, whole)
    assert not (tmp_path / "parts" / "shards").exists()
    kept = sample(run, tmp_path / "kept", *options, "--format", "shards", read=False)
    found = [np.load(path)["x"] for path in sorted((tmp_path / "kept" / "shards").glob("*.npz"))]
    assert kept is None and [len(part) for part in found] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(found), whole)


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
    # Of the digits: a pixel's standard deviation, and that along the widest direction.
    assert levels_of(run).sigma_data == pytest.approx(0.5417, rel=1e-3)
    assert levels_of(run).spread == pytest.approx(1.67, rel=0.05)
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
def test_mistakes_in_a_fit_are_sentences(options, phrase, capsys):
    with pytest.raises(SystemExit) as error:
        fit_plan.main(["--checkpoint", "nowhere", "--nfe", "3", "--out", "p.json", *options])
    assert phrase in f"{error.value} {capsys.readouterr().err}"


def no_work(*args, **options):
    raise AssertionError("the work has begun")


@pytest.mark.parametrize("in_the_way", ["a file", "samples.npz", "samples.png"])
def test_where_samples_cannot_be_written_none_are_drawn(run, tmp_path, monkeypatch, in_the_way):
    out = tmp_path / "out"
    if in_the_way == "a file":
        out.touch()
    else:
        (out / in_the_way).mkdir(parents=True)
    monkeypatch.setattr(ej.training, "draw", no_work)
    with pytest.raises(SystemExit, match=r"out cannot be written to|is a directory, and a file"):
        script("sample")(["--checkpoint", str(run), "--num-steps", "2", "--out", str(out)])


def test_a_run_that_cannot_write_its_samples_does_not_train(tmp_path, monkeypatch):
    (tmp_path / "run" / "samples.npz").mkdir(parents=True)
    monkeypatch.setattr(ej.training.loop, "check_losses", no_work)
    with pytest.raises(SystemExit, match=r"samples\.npz is a directory, and a file"):
        script("train")([f"--out={tmp_path}/run", *TINY])


@pytest.mark.parametrize("in_the_way", ["plan.json", "plan.png"])
def test_where_a_plan_cannot_be_written_none_is_fitted(run, tmp_path, monkeypatch, in_the_way):
    (tmp_path / in_the_way).mkdir()
    monkeypatch.setattr(ej.learning, "fit_plan", no_work)
    options = ["--checkpoint", str(run), "--nfe", "4", "--out", str(tmp_path / "plan.json")]
    with pytest.raises(SystemExit, match=r"directory, and a file|`?--out is the file of the plan"):
        fit_plan.main(options)


def test_a_finished_run_without_its_losses_still_draws_samples(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "loss.csv").unlink()
    script("train")([f"--config={run}/config.yaml", f"--out={tmp_path}/run"])
    check_samples(tmp_path / "run", 10)


@pytest.mark.thorough
@pytest.mark.parametrize("clip", [None, *later(True, mark=pytest.mark.slow)])
def test_latents_are_drawn_written_and_not_clipped_unless_asked(tmp_path, capsys, clip):
    """Four channels of floats of variance 4: a network that is zero gives samples of that kind."""
    data = np.random.default_rng(0).normal(0, 2, (16, 8, 8, 4)).astype(np.float32)
    dataset = ej.training.Dataset("latents", data, np.zeros(16, int), None, 1)
    base = config(tmp_path / "run")
    loss = dataclasses.replace(base.loss, sigma_data=2.0)
    sample = dataclasses.replace(base.sample, clip=clip)
    ej.training.train(dataclasses.replace(base, loss=loss, sample=sample), dataset, progress=False)
    assert ej.training.load_trained(tmp_path / "run").clip is bool(clip)
    options = ["--num-samples", "5", "--num-steps", "4", "--out", str(tmp_path / "samples")]
    script("sample")(["--checkpoint", str(tmp_path / "run"), *options])
    said = capsys.readouterr()
    assert "no picture can be drawn" in said.err and said.out.endswith("samples.npz\n")
    x = np.load(tmp_path / "samples" / "samples.npz")["x"]
    assert x.shape == (5, 8, 8, 4)
    assert (np.abs(x).max() <= 1) == bool(clip)


def test_a_file_of_aliases_of_aliases_is_a_sentence_at_once(tmp_path, capsys):
    """Of nine to the power of twelve entries in twelve lines."""
    lines = ["  - &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"  - &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (tmp_path / "many.yaml").write_text("\n".join(["net:", " channels:", *lines, ""]))
    (tmp_path / "itself.yaml").write_text("net: &a [*a]\n")
    for name in ("many", "itself"):
        with pytest.raises(SystemExit):
            script("train")([f"--config={tmp_path}/{name}.yaml", f"--out={tmp_path}/run"])
        assert f"{name}.yaml: more than 10000 entries" in capsys.readouterr().err
