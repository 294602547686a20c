"""Writes the tables of docs/results.md from what edmjax evaluate measured, and its picture.

    python docs/make/results.py --evaluation runs/mnist/evaluation   # takes over its samples.csv
    python docs/make/results.py                                      # from the one that docs/ holds

Between `<!-- samples -->` and `<!-- end -->` of the page stand the samplers that were run with
several seeds; between `<!-- quality -->` and `<!-- end -->`, those of seed 0 by evaluations.
"""

import argparse
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edmjax.evaluation import FIGURES, Mean
from edmjax.evaluation.report import Table, markdown_table
from edmjax.evaluation.results import (
    SAMPLE_COLUMNS,
    TEST_IMAGES,
    Quality,
    draw_quality,
    over_seeds,
    plus_minus,
)

DOCS = Path(__file__).parents[1]
NAMES = {
    TEST_IMAGES: TEST_IMAGES,
    "recommended": "`ej.recommend`",
    "learned, plans/{nfe}.json": "a [learned plan](learning.md)",
    "learned, longer/{nfe}.json": "a [learned plan](learning.md), fitted longer",
}


def main(argv: Sequence[str] | None = None, docs: Path = DOCS) -> None:
    parser = argparse.ArgumentParser(
        prog="results.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--evaluation", type=Path, help="a directory that edmjax evaluate wrote")
    given = parser.parse_args(argv).evaluation
    held, page = docs / "mnist_samples.csv", docs / "results.md"
    source = held if given is None else given / "samples.csv"
    if not source.is_file():
        raise SystemExit(f"error: There is no {source}: run edmjax evaluate first.")
    if given is not None:
        shutil.copyfile(source, held)
    columns = SAMPLE_COLUMNS | dict.fromkeys(FIGURES, float)
    rows = list(Table(held, columns, 4).rows.values())
    first = over_seeds(row for row in rows if row["seed"] == 0)
    text = page.read_text(encoding="utf-8")
    for name, lines in (("samples", by_seeds(over_seeds(rows))), ("quality", by_nfe(first))):
        text = filled(text, name, lines)
    page.write_text(text, encoding="utf-8")
    draw_quality(first, docs / "mnist_quality.png")


def by_seeds(qualities: Iterable[Quality]) -> str:
    """The table of what was run with several seeds: means with standard errors."""
    head = ["sampler", "evaluations", "Fréchet", "above 0.9", "off class"]
    lines = []
    for q in qualities:
        if q.seeds > 1:
            share = Mean(*(100 * v for v in q.figures["confident"]))
            lines.append(
                [name_of(q), str(q.evaluations or ""), plus_minus(q.figures["frechet"])]
                + [f"{plus_minus(share)} %", plus_minus(q.figures["off_class"])]
                + [f"{q.figures[name].value:.2f}" for name in ("precision", "recall")]
                + [f"{q.figures['copied'].value:g}"]
            )
    return markdown_table([[*head, "precision", "recall", "copied"], *lines])


def by_nfe(qualities: Iterable[Quality]) -> str:
    """The table of Fréchet distances and shares above 0.9 by budget, a line a sampler."""
    found: dict[str, dict[int, str]] = {}
    for q in qualities:
        if q.sampler != TEST_IMAGES:
            share = 100 * q.figures["confident"].value
            cell = f"{q.figures['frechet'].value:.1f}, {share:.1f} %"
            found.setdefault(name_of(q), {})[q.budget] = cell
    budgets = sorted({budget for cells in found.values() for budget in cells})
    lines = [[name, *(cells.get(n, "") for n in budgets)] for name, cells in found.items()]
    return markdown_table([["evaluations", *map(str, budgets)], *lines])


def name_of(q: Quality) -> str:
    return NAMES.get(q.name, f"`{q.sampler}`, {q.schedule}")


def filled(text: str, name: str, lines: str) -> str:
    """`text` with `lines` in the place that has this name."""
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
    if len(place.findall(text)) != 1:
        raise SystemExit(f"error: The page must have one place <!-- {name} --> to <!-- end -->.")

    def put(match: Any) -> str:
        return f"{match[1]}\n{lines}\n\n{match[2]}"

    return place.sub(put, text)


if __name__ == "__main__":
    main()
