"""The code of docs/discrete.md runs, and the names in its table exist."""

import pathlib
import re

import numpy as np

import edmjax as ej

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "discrete.md").read_text()


def test_the_code_runs():
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) == 6
    for block in blocks:
        exec(compile(block, "discrete.md", "exec"), names)
        if "from_time" in block:  # c_skip = 1 / (sigma^2 + 1), c_out = -sigma / sqrt(sigma^2 + 1)
            for sigma in (0.01, 3.0, 700.0):
                x, root = 2.0 * np.ones((1, 1)), np.hypot(sigma, 1)
                v = -0.1 * x / root * np.log(sigma) / 4
                want = x / root**2 - sigma / root * v
                np.testing.assert_allclose(names["denoise"](x, sigma), want, rtol=1e-4)
    t, x0, noise = names["t"], names["x0"], names["noise"]
    alpha, s = (np.asarray(v)[:, None] for v in names["process"].marginal(np.asarray(t)))
    np.testing.assert_allclose(names["x_t"], alpha * x0 + s * noise, rtol=1e-4, atol=1e-5)
    back = alpha * names["x_t"] - s * names["target"]
    np.testing.assert_allclose(back, x0, rtol=1e-4, atol=1e-4)


def test_a_third_of_the_way_up():
    """-1/3 of log_var is a third of the way from the small variance to the large."""
    grid = ej.processes.ddpm().grid(20)
    learned, small, large = (
        ej.make_plan(ej.samplers.ddpm(variance), grid)
        for variance in ("learned_range", "fixed_small", "fixed_large")
    )
    got = learned.z[1:-1] * np.exp(-learned.v[1:-1] / 3)
    want = small.z[1:-1] ** (2 / 3) * large.z[1:-1] ** (1 / 3)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_the_names_of_the_page_exist():
    names = set(re.findall(r"`ej\.([\w.]+)", TEXT))
    assert len(names) == 10
    for name in names:
        value = ej
        for part in name.split("."):
            value = getattr(value, part)
