"""The documentation: every public name is documented, examples run, every page is listed.

The build of the site itself is a command of its own (docs/conf.py), which runs the examples too.
"""

import pathlib
import re
import runpy
import subprocess
import sys

import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
EXAMPLES = sorted(path.stem for path in (DOCS / "examples").glob("*.py"))


@pytest.fixture
def docs(monkeypatch):
    """The modules beside the pages can be imported."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.syspath_prepend(str(DOCS / "examples"))


def test_every_public_name_is_documented(docs):
    import reference

    assert reference.undocumented() == []


def test_a_public_name_without_documentation_is_found(docs, monkeypatch):
    import reference

    import edmjax as ej

    monkeypatch.setattr(ej.samplers.heun, "__doc__", None)
    monkeypatch.setattr(ej.processes.Levels, "__doc__", "Levels(sigmas: Any)")
    found = reference.undocumented()
    assert "edmjax.samplers.heun" in found and "edmjax.processes.Levels" in found


def test_public_names_are_those_of_the_packages_own_sign(docs):
    import reference

    import edmjax as ej

    assert {"make_plan", "sample", "Plan", "Sampler"} <= set(reference.public_names(ej))
    assert {"karras", "theta"} <= set(reference.public_names(ej.schedules))
    names = set(reference.public_names(ej.processes))
    assert {"Process", "ddpm", "vp"} <= names and not {"np", "math", "Partial"} & names


def test_a_docstring_becomes_rst(docs):
    from docstrings import to_rst

    text = """The `plan` of `x`s, |z| * 2.

        x' = a * x

    Goes on with `log(x,
    y)` and c_ is.

    Args:
        x: a |point|.

            not literal
    """
    lines = [line.removeprefix("    ") for line in text.split("\n")]
    assert "\n".join(to_rst(lines)) == (
        "The ``plan`` of ``x``\\ s, \\|z\\| \\* 2.\n\n::\n\n    x' = a * x\n\n\n"
        "Goes on with ``log(x,\ny)`` and c\\_ is.\n\nArgs:\n    x: a \\|point\\|.\n\n"
        "        not literal\n"
    )


def test_every_page_is_in_the_contents():
    index = (DOCS / "index.md").read_text()
    contents = set(re.findall(r"^[\w/]+$", index, re.M))
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages <= contents
    assert {f"examples/{name}" for name in EXAMPLES if name != "network"} <= contents


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "network"])
def test_an_example_runs(name, docs, unchecked):
    runpy.run_path(str(DOCS / "examples" / f"{name}.py"))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-b", "html"]
    result = subprocess.run([*command, DOCS, tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
