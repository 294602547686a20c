"""The code of docs/discrete.md runs, and samples what its exact networks say."""

import pathlib
import re

import numpy as np
import pytest

import edmjax as ej

TEXT = (pathlib.Path(__file__).parent.parent / "docs" / "discrete.md").read_text()


@pytest.mark.slow  # four programs to compile
def test_the_code_runs():
    names, plans = {}, []
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) == 7
    for block in blocks:
        exec(compile(block, "discrete.md", "exec"), names)
        if "ej.sample(" in block:
            plans.append(names["plan"])
    # The exact denoiser of the same data, which knows no process, on the same plans.
    problem, x = ej.problems.Gaussian([0.0], 0.25), names["x"]
    sdxl = names["sdxl_start"]
    for plan, start, name in zip(plans, (x, sdxl, x), ("x0", "x0_sdxl", "x0_zero"), strict=True):
        want = ej.sample(problem, plan, start)
        assert np.std(want) > 0.4
        np.testing.assert_allclose(names[name], want, rtol=0, atol=1e-4)
    t, x0, noise = names["t"], names["x0_zero"], names["noise"]
    alpha, s = (np.asarray(v)[:, None] for v in names["zero"].marginal(np.asarray(t)))
    np.testing.assert_allclose(names["x_t"], alpha * x0 + s * noise, rtol=1e-4, atol=1e-5)
    back = alpha * names["x_t"] - s * names["target"]
    np.testing.assert_allclose(back, x0, atol=1e-5)
