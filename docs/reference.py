"""The reference: a page a module, made of its public names; none may be without documentation.

Public is what a module lists in its `__all__`.
"""

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from docstrings import to_rst

import edmjax

# What a type checker reads and Python does not know.
ALIASES = {"Sampler": "A function `(x, at) -> x_next`, one step of a method; `at` is a `Step`."}

ROOMS = [name for name in edmjax.__all__ if inspect.ismodule(getattr(edmjax, name))]
MODULES = ["edmjax", *(f"edmjax.{name}" for name in ROOMS)]


def public_names(module: ModuleType) -> list[str]:
    """The names in the module's `__all__` that are no modules, in its order."""
    return [name for name in module.__all__ if not inspect.ismodule(getattr(module, name))]


def documentation(owner: ModuleType, name: str) -> str:
    """The docstring of a name, or the comment beside a constant; empty where there is none."""
    thing = getattr(owner, name)
    if name in ALIASES:
        return ALIASES[name]
    if inspect.isclass(thing) or inspect.isroutine(thing):
        return "" if _made(thing) else inspect.getdoc(thing) or ""
    return _comment(owner, name)


def _made(thing: Any) -> bool:
    """Whether a class has only the docstring that Python wrote for it."""
    if not inspect.isclass(thing):
        return False
    doc = thing.__dict__.get("__doc__") or ""
    if not doc:
        return True
    made = dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")
    return made and doc.startswith(f"{thing.__name__}(")


def _comment(owner: ModuleType, name: str) -> str:
    """The comment above a constant where it is assigned, here or where it is imported from."""
    lines = inspect.getsource(owner).splitlines()
    for i, line in enumerate(lines):
        if line.startswith((f"{name} =", f"{name}:")):
            found = []
            while i and lines[i - 1].startswith("# "):
                i -= 1
                found.insert(0, lines[i][2:])
            return " ".join(found) or line.partition("  # ")[2]
    for node in ast.walk(ast.parse(inspect.getsource(owner))):  # some imports are in a `try`
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        if name in names and isinstance(node, ast.ImportFrom) and node.module:
            return _comment(importlib.import_module(node.module), name)
    return ""


def undocumented() -> list[str]:
    """The public names without documentation, with their modules."""
    modules = [importlib.import_module(name) for name in MODULES]
    return [
        f"{module.__name__}.{name}"
        for module in modules
        for name in public_names(module)
        if not documentation(module, name)
    ]


def write_pages(folder: Path) -> None:
    """A page for each module; ValueError where a public name has no documentation."""
    if bare := undocumented():
        raise ValueError(f"These public names have no documentation: {', '.join(bare)}.")
    folder.mkdir(exist_ok=True)
    for name in MODULES:
        _write(folder / f"{name}.md", _page(importlib.import_module(name)))
    names = "\n".join(MODULES)
    _write(folder / "index.md", f"# Reference\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n")


def _page(module: ModuleType) -> str:
    blocks = [f".. automodule:: {module.__name__}", ""]
    first = set() if module is edmjax else set(public_names(edmjax))
    for name in public_names(module):
        thing, path = getattr(module, name), f"{module.__name__}.{name}"
        # What the package itself shows is indexed there, and shown again in its own room.
        again = name in first and getattr(edmjax, name) is thing
        index = ["   :no-index:"] if again else []
        if inspect.isclass(thing) and name not in ALIASES:
            blocks += [f".. autoclass:: {path}", "   :members:", *index, ""]
        elif inspect.isroutine(thing):
            blocks += [f".. autofunction:: {path}", *index, ""]
        else:
            text = "\n".join(to_rst([documentation(module, name)]))
            blocks += [f".. py:data:: {path}", "", f"   {text}", ""]
    body = "\n".join(blocks)
    return f"# {module.__name__}\n\n```{{eval-rst}}\n{body}\n```\n"


def _write(path: Path, text: str) -> None:
    # Untouched where it is the same, so that only what changed is built again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's hook: the lines of a docstring, in place."""
    lines[:] = to_rst(lines)
