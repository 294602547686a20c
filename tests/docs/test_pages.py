"""Every page of the documentation runs as it stands, and what it computes is what it says."""

import importlib.util
import re

import jax
import numpy as np
import pytest
from support import pages

import edmjax as ej

# Pages that compile for more than a few seconds are thorough, for more than twenty slow.
SLOW = {"adaptive", "diffrax", "learning", "likelihood", "own_network", "reproducibility", "sbi"}
THOROUGH = {*pages.pages()} - SLOW - {"index", "discrete"}
# Their networks are not defined on the page: see test_recipes.py and test_pretrained_page.py.
ELSEWHERE = {"recipes", "pretrained"}
NO_EXPORT = pytest.mark.skipif(
    not importlib.util.find_spec("flatbuffers"), reason="the extra `export` is not installed"
)
MARKS = [({"export"}, NO_EXPORT), (SLOW, pytest.mark.slow), (THOROUGH, pytest.mark.thorough)]


def adaptive(names):
    want = names["problem"].flow(names["x"], 80.0, 0.002)
    assert np.abs(names["x0"] - want).max() < 0.02 and names["report"].finished.all()
    assert np.isfinite(names["slope"]).all() and names["y0"].shape == names["x0"].shape


def data(names):
    fields, seen = names["fields"], np.asarray(names["seen"])
    mean, std = fields.mean((0, 1, 2)), fields.std((0, 1, 2))
    np.testing.assert_allclose(seen, (fields[:4] - mean) / std, atol=1e-4)
    np.testing.assert_allclose(names["back"], fields[:4], rtol=1e-6)
    assert names["back"].dtype == np.float64 and names["dataset"].num_classes == 3
    batch = names["by_step"]()(3)
    assert batch["x"].shape == (128, 2) and batch["y"].shape == (128,)


def diffrax(names):
    """All samples are of the mixture that the page denoises."""
    assert 20 < int(names["report"].nfe.max()) < 300
    for name in ("x0", "by_diffrax", "by_plan", "x0_churned", "x0_sde"):
        x = np.asarray(names[name])
        nearest = np.linalg.norm(x[:, None] - [[1.0, 0.0], [-1.0, 0.5]], axis=-1)
        share = np.mean(nearest[:, 0] < nearest[:, 1])
        # Of 256 samples: the share 0.6 with 0.03 of noise; five standard deviations and more.
        assert abs(share - 0.6) < 0.15 and nearest.min(axis=1).max() < 0.3 * 5, name


def discrete(names):
    # `from_time`: c_skip = 1 / (sigma^2 + 1), c_out = -sigma / sqrt(sigma^2 + 1)
    denoise = ej.denoisers.v(names["from_time"], ej.processes.cosine())
    for sigma in (0.01, 3.0, 700.0):
        x, root = 2.0 * np.ones((1, 1)), np.hypot(sigma, 1)
        v = -0.1 * x / root * np.log(sigma) / 4
        want = x / root**2 - sigma / root * v
        np.testing.assert_allclose(denoise(x, sigma), want, rtol=1e-4)
    t, x0, noise = names["t"], names["x0"], names["noise"]
    alpha, s = (np.asarray(v)[:, None] for v in names["process"].marginal(np.asarray(t)))
    np.testing.assert_allclose(names["x_t"], alpha * x0 + s * noise, rtol=1e-4, atol=1e-5)
    back = alpha * names["x_t"] - s * names["target"]
    np.testing.assert_allclose(back, x0, rtol=1e-4, atol=1e-4)


def export(names):
    for platform, there in (("tpu", True), ("cpu", False)):
        assert (platform in names["for_tpu"].platforms) == there
    assert names["loaded"].platforms == ("cpu", "cuda", "tpu")
    # the two modes, at 0.4 of the samples and 0.6
    nearest = np.linalg.norm(np.asarray(names["x0"])[:, None] - [[1.0, 0.0], [-1.0, 0.5]], axis=-1)
    assert abs(np.mean(nearest[:, 0] < nearest[:, 1]) - 0.4) < 0.31
    assert nearest.min(axis=1).max() < 0.3 * 5


def readme(names):
    assert names["part"].shape == (7, 8, 8, 1)
    assert np.isfinite(names["x0"]).all() and np.isfinite(names["slope"]).all()
    assert names["plan"].nfe == 18


def sbi(names):
    coverage, draws = names["coverage"], names["draws"]
    assert np.abs(coverage.value - coverage.level[:, None]).max() < 0.1
    assert names["outside"].mean() < 0.01
    u = np.stack([np.abs(draws.sum(1)), draws[:, 1] - draws[:, 0]]) / np.sqrt(2)
    radius = np.hypot(u[0] - 0.25, 0.3 - u[1])  # 0.1 with a deviation of 0.01
    assert abs(radius.mean() - 0.1) < 0.005 and radius.std() < 0.02
    assert names["accuracy"].value < 0.6


def plan_format(names):
    """The runner of the page, on a plan with noise: what `ej.sample` gives."""
    plan = ej.make_plan(ej.samplers.dpmpp_2m_sde(), ej.schedules.karras(5))
    plan.save("plan.json")
    with jax.enable_x64(True):
        x = 80.0 * jax.random.normal(jax.random.key(0), (4, 2), "float64")
        noise = ej.draw_noise(plan, jax.random.key(1), x)
        denoise = ej.problems.Gaussian([1.0, 0.0], [[1.0, 0.3], [0.3, 0.5]])
        expected = ej.sample(denoise, plan, x, noise=noise)
        found = names["run"](names["read"]("plan.json"), denoise, x, noise)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def sweep(names):
    assert names["x0"]["heun"].shape == names["x"].shape


CHECKS = {
    "README": readme,
    "adaptive": adaptive,
    "diffrax": diffrax,
    "discrete": discrete,
    "export": export,
    "plan_format": plan_format,
    "sbi": sbi,
    "sweep": sweep,
}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[mark for names, mark in MARKS if page in names])
        for page in pages.pages()
        if page not in ELSEWHERE
    ],
)
def test_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pages write files
    names = pages.run(page)
    if page in CHECKS:
        CHECKS[page](names)


@pytest.mark.parametrize(("page", "room"), [("discrete", ej), ("guidance", ej.guidance)])
def test_the_names_in_a_table_exist(page, room):
    text = pages.text_of(page)
    found = (
        re.findall(r"`ej\.([\w.]+)", text) if room is ej else re.findall(r"^\| `(\w+)", text, re.M)
    )
    assert len(set(found)) >= 5
    for name in found:
        value = room
        for part in name.split("."):
            value = getattr(value, part)


def test_a_third_of_the_way_up():
    """docs/discrete.md: -1/3 of log_var is a third of the way from the small variance up."""
    grid = ej.processes.ddpm().grid(20)
    learned, small, large = (
        ej.make_plan(ej.samplers.ddpm(variance), grid)
        for variance in ("learned_range", "fixed_small", "fixed_large")
    )
    got = learned.z[1:-1] * np.exp(-learned.v[1:-1] / 3)
    want = small.z[1:-1] ** (2 / 3) * large.z[1:-1] ** (1 / 3)
    np.testing.assert_allclose(got, want, rtol=1e-12)
