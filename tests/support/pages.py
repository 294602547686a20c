"""The pages of the documentation as programs: their Python blocks, in order, in one namespace."""

import pathlib
from typing import Any

from sybil import Document, Example
from sybil.parsers.myst import PythonCodeBlockParser

ROOT = pathlib.Path(__file__).parents[2]


def path_of(page: str) -> pathlib.Path:
    """The file of a page: README, or one in `docs/`."""
    return ROOT / "README.md" if page == "README" else ROOT / "docs" / f"{page}.md"


def text_of(page: str) -> str:
    return path_of(page).read_text(encoding="utf-8")


def examples_of(page: str) -> tuple[Document, list[Example]]:
    document = Document.parse(str(path_of(page)), PythonCodeBlockParser())
    return document, list(document.examples())


def blocks_of(page: str) -> list[str]:
    """The source of each Python block of a page."""
    return [str(example.parsed) for example in examples_of(page)[1]]


def run(page: str, *which: int) -> dict[str, Any]:
    """The names that a page's blocks leave behind: of all of them, or of those numbered `which`."""
    document, examples = examples_of(page)
    for i, example in enumerate(examples):
        if not which or i in which:
            example.evaluate()
    return document.namespace


def pages() -> list[str]:
    """Every page that has a Python block."""
    names = ["README", *sorted(path.stem for path in (ROOT / "docs").glob("*.md"))]
    return [page for page in names if blocks_of(page)]
