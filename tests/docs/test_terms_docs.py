"""The code of docs/diffrax.md runs, and all its samples are of the mixture that it denoises."""

import pathlib
import re

import numpy as np
import pytest

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "diffrax.md").read_text()


@pytest.mark.slow  # five programs to compile
def test_the_code_runs():
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "diffrax.md", "exec"), names)
    assert 20 < int(names["nfe"]) < 300
    for name in ("x0", "by_diffrax", "by_plan", "x0_churned", "x0_sde"):
        x = np.asarray(names[name])
        nearest = np.linalg.norm(x[:, None] - [[1.0, 0.0], [-1.0, 0.5]], axis=-1)
        share = np.mean(nearest[:, 0] < nearest[:, 1])
        # Of 256 samples: the share 0.6 with 0.03 of noise; five standard deviations and more.
        assert abs(share - 0.6) < 0.15 and nearest.min(axis=1).max() < 0.3 * 5, name
