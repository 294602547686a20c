"""Public signatures say what they take: to a type checker, and to a reader of the source."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "edmjax"
PROGRAMS = pathlib.Path(__file__).with_name("wrong_programs.py")


def pyright(*options):
    pytest.importorskip("pyright", reason="needs pyright: pip install --group dev")
    command = [sys.executable, "-m", "pyright", "--outputjson", *map(str, options)]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stdout)


def aliases_of_any(tree):
    """The names that are `Any` in a module, by an assignment that a type checker reads."""
    names, found = {"Any"}, True
    bodies = [tree.body]
    for node in tree.body:  # of `if TYPE_CHECKING: ... else: ...` a checker reads the first part
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            bodies.append(node.body)
    while found:
        found = False
        for node in (node for body in bodies for node in body):
            targets = (
                [node.target]
                if isinstance(node, ast.AnnAssign)
                else node.targets
                if isinstance(node, ast.Assign)
                else []
            )
            value = getattr(node, "value", None)
            for target in targets:
                new = isinstance(target, ast.Name) and target.id not in names | {"PyTree"}
                if new and isinstance(value, ast.Name) and value.id in names:
                    names.add(target.id)
                    found = True
    return names


def parameters(tree):
    """(name, annotation) of every parameter of a public function or method of a module."""

    def of(body, within):
        for node in body:
            if isinstance(node, ast.If):
                yield from of(node.body, within)
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from of(node.body, node.name)
            elif isinstance(node, ast.FunctionDef) and (
                not node.name.startswith("_") or node.name in ("__call__", "__init__")
            ):
                taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                first = bool(within) and taken and taken[0].arg in ("self", "cls")
                for parameter in taken[bool(first) :]:
                    yield f"{within}{'.' * bool(within)}{node.name}({parameter.arg})", parameter

    yield from of(tree.body, "")


def counted():
    total, untyped = 0, []
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    any_of = {path: aliases_of_any(tree) for path, tree in trees.items()}
    for path, tree in trees.items():
        names = set(any_of[path])
        for node in ast.walk(tree):  # an alias that comes from another module
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edmjax"):
                source = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
                names |= {a.asname or a.name for a in node.names} & any_of.get(source, set())
        for name, parameter in parameters(tree):
            total += 1
            said = parameter.annotation and ast.unparse(parameter.annotation)
            if said is None or said in names:
                untyped.append(f"{path.relative_to(ROOT)}: {name}")
    return total, untyped


def test_at_most_three_in_a_hundred_public_parameters_are_any():
    total, untyped = counted()
    assert total > 1000
    assert len(untyped) <= 0.03 * total, "\n".join(untyped)


def test_aliases_of_any_are_followed():
    assert aliases_of_any(ast.parse("Anything = Any\nThing: TypeAlias = Anything")) == {
        "Any",
        "Anything",
        "Thing",
    }


@pytest.mark.thorough
def test_wrong_programs_are_refused_line_by_line():
    lines = PROGRAMS.read_text("utf-8").splitlines()
    wrong = {i for i, line in enumerate(lines) if "# wrong" in line}
    assert len(wrong) >= 10
    found = pyright(PROGRAMS)["generalDiagnostics"]
    errors = {item["range"]["start"]["line"] for item in found if item["severity"] == "error"}
    assert sorted(lines[i] for i in wrong - errors) == []
    assert sorted(lines[i] for i in errors - wrong) == []


@pytest.mark.thorough
def test_every_public_type_is_known():
    report = pyright("--verifytypes", "edmjax", "--ignoreexternal")["typeCompleteness"]
    unknown = [
        symbol["name"]
        for symbol in report["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"]
    ]
    assert unknown == []
