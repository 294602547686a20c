"""The code of docs/reproducibility.md runs."""

import pathlib
import re

import pytest

DOC = (pathlib.Path(__file__).parents[2] / "docs" / "reproducibility.md").read_text()


@pytest.mark.slow
def test_the_page_runs():
    blocks = re.findall(r"```python\n(.*?)```", DOC, re.S)
    assert len(blocks) > 5
    exec(compile("\n".join(blocks), "reproducibility.md", "exec"), {})
