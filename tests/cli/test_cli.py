"""The command `edmjax`: which command runs, and the exit code that a script gets."""

import importlib
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

import edmjax
from edmjax import cli

ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return stop.value.code


def test_the_installed_command_is_main():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["edmjax"].split(":")
    assert getattr(importlib.import_module(module), function) is cli.main
    known = project["optional-dependencies"]
    for _, extra, _ in cli.COMMANDS.values():
        assert set(extra.split(",")) <= set(known)


def test_help_lists_every_command_and_the_exit_codes(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    for name, (_, _, what) in cli.COMMANDS.items():
        assert f"{name:8} {what}" in text
    assert "130 interrupted" in text
    assert run("--version") == 0
    assert capsys.readouterr().out == f"edmjax {edmjax.__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_answers_help_under_its_own_name(name, capsys):
    assert run(name, "--help") == 0
    text = capsys.readouterr().out
    assert re.search(rf"^usage: (edmjax )?{name}", text)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "COMMAND"),
        (["tain"], "invalid choice: 'tain'"),
        (["train", "--optim.stesp=4"], "--optim.stesp"),
        (["compare"], "--out"),
        (["compare", "--out=x", "--problems", "P9"], "invalid choice: 'P9'"),
    ],
)
def test_wrong_usage_is_2(arguments, words, capsys):
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err


def test_failure_is_1_with_a_sentence(tmp_path):
    # A string as the code of SystemExit: Python prints it to standard error and ends with 1.
    said = run("train", "--data", "digit", "--out", str(tmp_path / "out"))
    assert said.startswith("digit: there is no such file") and "Did you mean 'digits'" in said
    command = [sys.executable, "-c", f"import sys; sys.exit({said!r})"]
    assert subprocess.run(command, capture_output=True).returncode == 1


def test_an_interrupt_is_130_and_no_traceback(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load", lambda command: interrupted)
    assert run("train") == 130
    assert capsys.readouterr().err == "stopped\n"


def test_options_and_the_code_are_handed_on(monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "load", lambda command: lambda options: seen.append(options) or 7)
    assert run("sample", "--out", "a", "heun", "--", "--version") == 7
    assert seen == [["--out", "a", "heun", "--", "--version"]]


def test_a_missing_extra_names_the_pip_command(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError("No module named 'diffrax'", name="diffrax")

    monkeypatch.setattr(cli.importlib, "import_module", missing)
    assert run("compare", "--help") == 1
    assert "needs 'diffrax'" in (said := capsys.readouterr().err)
    assert "pip install 'edmjax[train,diffrax]'" in said


def test_a_missing_extra_of_a_submodule_names_the_pip_command(monkeypatch, capsys):
    def missing(name):
        if name == "edmjax.cli.sample":  # imports `edmjax.training` as an attribute
            edmjax.__getattr__("training")
        raise ModuleNotFoundError("No module named 'flax'", name="flax")

    monkeypatch.setattr(cli.importlib, "import_module", missing)
    assert run("sample", "--help") == 1
    assert "edmjax sample needs 'flax', which is not installed" in capsys.readouterr().err


def test_our_own_broken_import_is_not_called_a_missing_extra(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'edmjax.nn'", name="edmjax.nn")

    monkeypatch.setattr(cli.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["train"])


@pytest.mark.parametrize("name", ["train", "sample", "compare"])
def test_the_scripts_are_the_commands(name):
    spec = importlib.util.spec_from_file_location("script", ROOT / "scripts" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    module, function = cli.COMMANDS[name][0].split(":")
    assert script.main is getattr(importlib.import_module(f"edmjax.cli.{module}"), function)
