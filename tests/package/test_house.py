"""The rooms of the package: what may import what, and what each shows at its front door."""

import ast
import importlib
import inspect
import pathlib
import tomllib

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import edmjax as ej

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "edmjax"
ROOMS = [name for name in ej.__all__ if inspect.ismodule(getattr(ej, name))]
FOLDERS = ("edmjax", "scripts", "checks", "benchmarks", "docs")


def imported(path):
    """The modules and names that a file imports, as `package.module.name`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reached(name, path):
    """The private part of `name` that a file at `path` takes from another folder, or None."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if i and part.startswith("_") and not part.startswith("__"):
            owner = ROOT.joinpath(*parts[:i])
            owner = owner if owner.is_dir() else owner.parent
            common = parts[:2] == ["edmjax", "_common"] and i == 1 and PACKAGE in path.parents
            if owner not in path.parents and not common:
                return ".".join(parts[: i + 1])
    return None


def test_imports_go_down_the_list(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True, config_filename="pyproject.toml") == EXIT_STATUS_SUCCESS


def test_the_list_of_rooms_is_the_one_in_contributing():
    with (ROOT / "pyproject.toml").open("rb") as file:
        (contract,) = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = text.split("<!-- rooms -->")[1].split("```")[1].split("\n")[1:-1]
    assert [" | ".join(line.split()) for line in listed] == [
        " | ".join(layer.replace("|", " ").split()) for layer in contract["layers"]
    ]


def test_an_upward_import_would_be_found(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    upside_down = text.replace('    "scalar",\n', "").replace(
        "layers = [", 'layers = [\n    "scalar",'
    )
    (tmp_path / "pyproject.toml").write_text(upside_down, encoding="utf-8")
    assert lint_imports(no_cache=True, config_filename=str(tmp_path / "pyproject.toml")) != 0


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_private_stays_in_its_folder(folder):
    taken = [
        f"{path.relative_to(ROOT)}: {private}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imported(path)
        if name.startswith("edmjax") and (private := reached(name, path))
    ]
    assert taken == []


def test_a_private_module_of_another_room_would_be_found():
    path = PACKAGE / "learning" / "plans.py"
    assert reached("edmjax.denoisers._network", path) == "edmjax.denoisers._network"
    assert reached("edmjax.running.one_plan._source", path) == "edmjax.running.one_plan._source"
    assert reached("edmjax._common.arrays.wide", path) is None
    assert reached("edmjax.learning._task.Task", path) is None


def test_every_entry_is_a_public_room_or_the_common_one():
    entries = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert entries - {"__init__", "__pycache__"} == {*ROOMS, "_common", "cli"}


@pytest.mark.parametrize("name", ["edmjax", *(f"edmjax.{room}" for room in ROOMS)])
def test_a_front_door_shows_its_public_names_alone(name):
    module = importlib.import_module(name)
    assert set(dir(module)) - {"__version__"} == set(module.__all__)
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, public) for public in module.__all__)


def test_type_checkers_know_every_room():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    known = {alias.name for node in block.body for alias in node.names}
    assert known == set(ROOMS)
