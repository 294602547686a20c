"""Measures of a trained network and its samples, against closed forms and other transcriptions."""

import importlib.util
import json
import math
import pathlib

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from flax import nnx
from scipy.spatial.distance import cdist
from support import untrained

import edmjax as ej
from edmjax import evaluation as ev, training
from edmjax.cli import evaluate as command
from edmjax.evaluation import distances, losses, quality, report, results, subject
from edmjax.nn.functional import functional

ROOT = pathlib.Path(__file__).parents[2]


def normals(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# Fréchet distance


def with_moments(seed, n, mean, cov):
    """Rows whose mean and covariance (over n - 1) are these to rounding."""
    x = normals(seed, n, len(mean))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return mean + x @ np.linalg.cholesky(cov).T


def test_frechet_distance_of_gaussians_that_share_their_axes():
    # Commuting covariances: |m|^2 + the sum of (s_i - t_i)^2 of the standard deviations.
    s, t, mean = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.1, 0.5]), np.array([0.3, -2.0, 0.0])
    turn = scipy.stats.ortho_group.rvs(3, random_state=0)
    x = with_moments(0, 50, np.zeros(3), turn @ np.diag(s**2) @ turn.T)
    y = with_moments(1, 80, mean, turn @ np.diag(t**2) @ turn.T)
    exact = mean @ mean + ((s - t) ** 2).sum()
    np.testing.assert_allclose(ev.frechet_distance(x, y), exact, rtol=1e-10)
    np.testing.assert_allclose(ev.frechet_distance(y, x), exact, rtol=1e-10)


def test_frechet_distance_with_the_root_of_scipy():
    x, y = (normals(seed, 200, 8) @ normals(seed + 2, 8, 8) + seed for seed in (0, 1))
    cx, cy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(cx @ cy))
    apart = x.mean(0) - y.mean(0)
    expected = apart @ apart + np.trace(cx + cy - 2 * root)
    np.testing.assert_allclose(ev.frechet_distance(x, y), expected, rtol=1e-9)


def test_frechet_distance_of_features_of_low_rank():
    # Some features never fire, and there are fewer rows than features.
    x = np.zeros((10, 30))
    x[:, :20] = normals(0, 10, 5) @ normals(1, 5, 20)
    assert abs(ev.frechet_distance(x, x)) < 1e-5
    assert ev.frechet_distance(x, x + 2) == pytest.approx(4 * 30, rel=1e-12)
    one = normals(2, 10, 1)
    spreads = 3 * one.std(ddof=1) - one.std(ddof=1)
    exact = spreads**2 + (2 * one.mean()) ** 2
    assert ev.frechet_distance(one, 3 * one) == pytest.approx(exact, rel=1e-12)


# Precision and recall


def transcribed(real, made, k):
    """Equations 1 and 2 of Kynkäänniemi et al. 2019, point by point."""

    def share(points, centres):
        inside = 0
        for point in points:
            for i, centre in enumerate(centres):
                others = np.delete(centres, i, axis=0)
                radius = np.sort(np.linalg.norm(others - centre, axis=1))[k - 1]
                if np.linalg.norm(point - centre) <= radius:
                    inside += 1
                    break
        return inside / len(points)

    return share(made, real), share(real, made)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_point_by_point(k):
    real, made = normals(0, 40, 3), 0.8 * normals(1, 30, 3) + 0.8
    found = ev.precision_recall(real, made, k=k)
    np.testing.assert_allclose(found, transcribed(real, made, k), rtol=1e-12)
    assert 0 < found.recall < 1 and 0 < found.precision < 1


def test_precision_and_recall_of_constructed_sets():
    line = np.arange(10.0)[:, None]
    assert ev.precision_recall(line, line) == (1, 1)
    assert ev.precision_recall(line, line + 100) == (0, 0)
    # Half of what is made is elsewhere; what is made near the line reaches all of it.
    both = np.concatenate([line, line + 100])
    assert ev.precision_recall(line, both) == (0.5, 1)
    assert ev.precision_recall(both, line) == (1, 0.5)
    # With k = 1 the balls of the line have radius 1, edges included: 10 is inside, 10.5 is not.
    assert ev.precision_recall(line, line + 1, k=1).precision == 1
    assert ev.precision_recall(line, line + 1.5, k=1).precision == 0.9
    # A set that collapsed to one point is in the manifold, and its own has no width.
    assert ev.precision_recall(line, np.full((10, 1), 4.0)) == (1, 0.1)


def test_precision_and_recall_in_parts_are_those_in_one(monkeypatch):
    real, made = normals(0, 40, 3), 0.6 * normals(1, 30, 3)
    whole = ev.precision_recall(real, made)
    monkeypatch.setattr(distances, "_ROWS", 7)
    assert ev.precision_recall(real, made) == whole


# Neighbours


def test_nearest_training_images(monkeypatch):
    monkeypatch.setattr(distances, "_IMAGES", 4)
    training_images = normals(0, 50, 4, 4, 1)
    images = np.concatenate([training_images[:3], normals(1, 7, 4, 4, 1)])
    found = ev.make_nearest(training_images)(images)
    flat = (v.astype(np.float32).reshape(len(v), -1) for v in (images, training_images))
    expected = np.sort(cdist(*flat), axis=1)[:, :2].T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert (found.first[:3] == 0).all() and found.copied() == 0.3


# Losses


def test_levels_of_the_loss_are_one_an_interval():
    levels = losses.stratified_levels(50, 4, -0.7, 1.3, 0)
    quantiles = scipy.stats.norm.cdf((np.log(levels) + 0.7) / 1.3)
    assert sorted(np.floor(quantiles * 200).astype(int).ravel()) == list(range(200))
    assert (np.floor(quantiles * 4) == np.arange(4)[:, None]).all()
    assert not (np.diff(levels, axis=1) > 0).all(axis=1).any()  # not in the order of the images


@pytest.mark.parametrize("sigma_data", [0.5, pytest.param(1.0, marks=pytest.mark.thorough)])
def test_mean_loss_of_gaussian_data(sigma_data):
    # Data N(0, 1) a pixel, whose best denoiser leaves sigma^2 / (1 + sigma^2); weighted it is
    # (sigma^2 + s^2) / (s^2 (1 + sigma^2)), which is 1 at every level for s = 1.
    images = normals(0, 2000, 2, 2, 1).astype(np.float32)
    denoise = jax.tree_util.Partial(lambda x, sigma: x / (1 + sigma[:, None, None, None] ** 2))
    mean = ev.mean_loss(denoise, images, sigma_data=sigma_data, p_mean=-0.3, p_std=0.8)
    sigma = np.exp(-0.3 + 0.8 * scipy.stats.norm.ppf((np.arange(10_000) + 0.5) / 10_000))
    exact = np.mean((sigma**2 + sigma_data**2) / (sigma_data**2 * (1 + sigma**2)))
    assert abs(mean.value - exact) < 4 * mean.standard_error
    assert mean.standard_error < 0.03 * exact


@pytest.mark.thorough
def test_mean_loss_is_that_of_training():
    images = normals(0, 512, 2, 2, 1).astype(np.float32)

    def net(x, c_noise):
        return 0.3 * x + 0.1 * c_noise[:, None, None, None]

    denoise = ej.denoisers.edm(jax.tree_util.Partial(net), 0.6)
    mean = ev.mean_loss(denoise, images, sigma_data=0.6, p_mean=-1.0, p_std=1.0)
    x0 = jax.numpy.asarray(images)
    drawn = [
        ej.losses.edm(
            lambda _, *args: net(*args), None, x0, key, sigma_data=0.6, p_mean=-1.0, p_std=1.0
        )
        / 4  # pixels
        for key in jax.random.split(jax.random.key(1), 20)
    ]
    drawn = losses.mean_of(np.array(drawn))
    assert abs(mean.value - drawn.value) < 4 * math.hypot(mean[1], drawn[1])


@pytest.mark.thorough
def test_losses_of_chunks_are_those_of_the_whole():
    images = normals(0, 25, 2, 2, 1).astype(np.float32)
    denoise, counts = jax.tree_util.Partial(lambda x, sigma: 0.5 * x), []
    whole = ev.mean_loss(denoise, images)
    parts = ev.mean_loss(denoise, images, chunk_size=7, progress=counts.append)
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    assert sum(counts) == 8 * 25


def test_the_best_denoiser_leaves_no_excess_and_another_leaves_its_distance():
    points = np.random.default_rng(0).uniform(-1, 1, (300, 2, 2, 1)).astype(np.float32)
    best = ev.best_denoiser(points)
    problem = ej.problems.Empirical(points)
    # Off by 0.1 c_out everywhere: an error of 0.1 in the network's output.
    off = jax.tree_util.Partial(
        lambda x, sigma: (
            problem.denoise(x, sigma)
            + 0.1 * (0.5 * sigma / (sigma**2 + 0.25) ** 0.5)[:, None, None, None]
        )
    )
    for split in (True, False):
        low, high = ev.level_losses(off, best, points, [0.3, 2.0], training_images=split)
        assert low.sigma == 0.3 and high.sigma == 2.0
        for at in (low, high):
            assert at.best.value > 0
            assert abs(at.excess.value - 0.01) < 4 * at.excess.standard_error + 1e-5
        # Without the difference of losses the constant is met to rounding.
        assert (abs(high.excess.value - 0.01) < 1e-5) == split


def test_the_best_denoiser_at_small_noise_and_of_a_class():
    points = np.random.default_rng(0).uniform(-1, 1, (40, 2, 2, 1)).astype(np.float32)
    labels = np.arange(40) % 2
    x = (points[:6] + 0.002 * normals(1, 6, 2, 2, 1)).astype(np.float32)
    sigma = np.full(6, 0.002)
    found = ev.best_denoiser(points)(x, sigma)
    np.testing.assert_allclose(found, points[:6], atol=1e-15)
    cond = np.array([0, 1, 1, 1, 0, 0])
    of_class = ev.best_denoiser(points, labels)(x, np.full(6, 0.5), cond)
    for i in range(6):
        group = points[labels == cond[i]].reshape(-1, 4).astype(np.float64)
        odds = np.exp(-((x[i].reshape(4) - group) ** 2).sum(1) / (2 * 0.5**2))
        np.testing.assert_allclose(of_class[i].reshape(4), odds @ group / odds.sum(), rtol=1e-6)


# Bits per dimension


def test_bits_of_gaussian_data():
    # log N(x; 0, 1) at x spread over its cell is on average step^2 / 24 below that at x: nothing.
    images = np.round(normals(0, 100, 2, 2, 1) * 127.5).astype(np.float32) / np.float32(127.5)
    denoise = jax.tree_util.Partial(lambda x, sigma: x / (1 + sigma**2))
    bits = ev.image_bits(denoise, images, chunk_size=50)
    log_p = scipy.stats.norm.logpdf(images).sum(axis=(1, 2, 3))
    expected = -(log_p / 4 + math.log(2 / 255)) / math.log(2)
    np.testing.assert_allclose(bits, expected, atol=0.02)
    assert abs(bits.mean() - expected.mean()) < 1e-3


# Draws


def test_methods_are_read():
    assert ev.parse_methods("heun@karras:10,20") == [("heun", "karras", 10), ("heun", "karras", 20)]
    (method,) = ev.parse_methods("churn(heun, s_churn=40)@karras(sigma_max=20):6")
    assert method == ("churn(heun, s_churn=40)", "karras(sigma_max=20)", 6)
    assert ev.parse_methods("recommended:8, 5") == [("recommended", "", 8), ("recommended", "", 5)]
    assert ev.parse_methods("learned@a:b/{nfe}.json:6") == [("learned", "a:b/{nfe}.json", 6)]
    for text in ("heun", "heun:10", "heun@karras", "heun@karras:", "heun@karras:1.5", "@karras:6"):
        with pytest.raises(ValueError, match="does not say how to draw samples"):
            ev.parse_methods(text)


def test_a_budget_buys_the_most_steps_it_can():
    for sampler, budget, levels in (("heun", 35, 18), ("heun", 10, 5), ("dpmpp_2m", 10, 10)):
        plan = ev.plan_of(ev.Method(sampler, "karras", budget))
        np.testing.assert_array_equal(plan.grid, ej.schedules.karras(levels))
    told = ev.plan_of(ev.Method("euler", "theta(sigma_data=0.3)", 4), sigma_data=0.9, sigma_max=9.8)
    np.testing.assert_array_equal(told.grid, ej.schedules.theta(4, sigma_data=0.3, sigma_max=9.8))
    for method, phrase in (
        (("huen", "karras", 9), "Did you mean 'heun'"),
        (("heun", "karas", 9), "Did you mean 'karras'"),
        (("heun", "karras", 1), "1 evaluations are too few"),
    ):
        with pytest.raises(ValueError, match=phrase):
            ev.plan_of(ev.Method(*method))


def test_plans_are_recommended_or_read(tmp_path):
    plan = ev.plan_of(ev.Method("recommended", "", 7), sigma_data=0.9)
    assert plan.nfe == 7
    expected = ej.make_plan(*ej.recommend(7, sigma_data=0.9))
    jax.tree.map(np.testing.assert_array_equal, plan, expected)
    known = training.NoiseLevels(0.01, 50.0, 0.6, 4.0)
    told = ev.plan_of(ev.Method("recommended", "", 7), known, sigma_data=0.9)
    expected = ej.make_plan(*ej.recommend(7, **known._asdict()))
    jax.tree.map(np.testing.assert_array_equal, told, expected)
    plan.save(tmp_path / "7.json")
    method = ev.Method("learned", f"{tmp_path}/{{nfe}}.json", 7)
    np.testing.assert_array_equal(ev.plan_of(method, sigma_data=0.9).grid, plan.grid)
    with pytest.raises(ValueError, match=r"7.json for 8 evaluations holds a plan of 7"):
        ev.plan_of(ev.Method("learned", f"{tmp_path}/7.json", 8))


@pytest.mark.thorough
def test_draws_are_those_of_generate():
    denoise = jax.tree_util.Partial(lambda x, sigma: x / (1 + sigma**2))
    plan, counts = ej.make_plan(ej.samplers.euler(), ej.schedules.karras(4)), []
    found = training.draw(
        denoise, plan, (2, 2, 1), num_samples=5, seed=3, chunk_size=2, on_chunk=counts.append
    )
    config = training.SampleConfig(5, sampler="euler", num_steps=4, seed=3)
    expected = training.generate(denoise, config, (2, 2, 1), progress=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert counts == [8, 8, 4]


@pytest.mark.thorough
def test_labels_reach_the_denoiser():
    denoise = jax.tree_util.Partial(lambda x, sigma, cond: 0 * x + cond[:, None, None, None] / 10)
    plan, labels = ej.make_plan(ej.samplers.euler(), ej.schedules.karras(3)), np.arange(5)
    options = dict(num_samples=5, seed=0, labels=labels, chunk_size=2)
    found = training.draw(denoise, plan, (2, 2, 1), **options)
    np.testing.assert_allclose(found[:, 0, 0, 0], labels / 10, atol=1e-6)
    images = found.astype(np.float32)
    loss = ev.mean_loss(denoise, images, cond=labels, chunk_size=2)
    assert loss.value < 1e-10
    other = ev.mean_loss(denoise, images, cond=labels[::-1].copy(), chunk_size=2)
    assert other.value > 0.01


# Figures and tables


def classify(images):
    """Features are the first two pixels; class 0 below zero, else 1, surer the further away."""
    pixels = images.reshape(len(images), -1)
    p = 1 / (1 + np.exp(-10 * pixels[:, 0]))
    return ev.Classified(pixels[:, :2], np.stack([1 - p, p, *[0 * p] * 8], axis=1))


def test_figures_of_images():
    real, images = normals(0, 40, 28, 28, 1), normals(1, 40, 28, 28, 1)
    shares = np.array([0.25, 0.75, *[0.0] * 8])
    nearest = ev.make_nearest(real)
    reference = quality.Reference(classify, real.reshape(40, -1)[:, :2], shares)
    found = quality.figures_of(images, nearest, reference)
    first = images[:, 0, 0, 0]
    assert list(found) == list(ev.FIGURES)
    assert found["confident"] == pytest.approx((np.abs(first) > math.log(9) / 10).mean())
    assert found["class_1"] == pytest.approx((first > 0).mean())
    assert found["off_class"] == pytest.approx(100 * abs((first > 0).mean() - 0.75))
    pixels = images.reshape(40, -1)[:, :2]
    assert found["frechet"] == ev.frechet_distance(pixels, reference.features)
    inside = ev.precision_recall(reference.features, pixels)
    assert (found["precision"], found["recall"]) == inside
    near = cdist(images.reshape(40, -1), real.reshape(40, -1)).min(axis=1)
    for q in quality.QUANTILES:
        expected = np.quantile(near, q)
        assert found[f"distance_{round(100 * q)}"] == pytest.approx(expected, rel=1e-5)
    of_pixels = quality.figures_of(images, nearest)
    assert of_pixels == {name: found[name] for name in quality.PIXEL_FIGURES}
    images[3, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 40 samples are not finite"):
        quality.figures_of(images, nearest, reference)


def test_a_table_survives_an_interruption(tmp_path):
    path, columns = tmp_path / "a" / "rows.csv", {"name": str, "seed": int, "value": float}
    table = report.Table(path, columns, 2)
    table.add("one, two", 0, 1 / 3)
    assert table.get("one, two", 0) == {"name": "one, two", "seed": 0, "value": 0.3333333}
    with path.open("a") as file:
        file.write("three,1,0.2")  # without the end of its line
    again = report.Table(path, columns, 2)
    assert again.rows == table.rows and again.get("three", 1) is None
    again.add("three", 1, 0.25)
    assert path.read_text() == 'name,seed,value\n"one, two",0,0.3333333\nthree,1,0.25\n'
    with pytest.raises(ValueError, match="does not hold this table"):
        report.Table(path, {"name": str, "value": float}, 1)
    with path.open("a") as file:
        file.write("four,1,half\n")
    with pytest.raises(ValueError, match=r"Line 4 of .* is damaged: 'four,1,half'"):
        report.Table(path, columns, 2)


def test_results_of_another_configuration_are_refused(tmp_path):
    record, table = tmp_path / "evaluation.json", tmp_path / "summary.csv"
    report.claim(record, {"samples": 10, "shape": (1, 2)}, table)
    report.claim(record, {"samples": 10, "shape": (1, 2)}, table)
    with pytest.raises(ValueError, match="samples is 10 there and 11 here"):
        report.claim(record, {"samples": 11, "shape": (1, 2)}, table)
    record.write_text("[1")
    with pytest.raises(ValueError, match="is damaged, so nobody knows"):
        report.claim(record, {"samples": 10}, table)
    with pytest.raises(OSError, match="cannot be written to"):
        report.claim(record / "evaluation.json", {"samples": 10}, record / "summary.csv")
    record.unlink()
    table.write_text("")
    with pytest.raises(ValueError, match=r"has no evaluation.json beside it"):
        report.claim(record, {"samples": 10}, table)


def quality_rows():
    for sampler, schedule, budget, nfe in (
        ("heun", "karras", 6, 5),
        (results.TEST_IMAGES, "", 0, 0),
    ):
        for seed in range(3):
            row = {"sampler": sampler, "schedule": schedule, "budget": budget}
            figures = {name: seed + 1.0 for name in ev.FIGURES}
            yield row | {"seed": seed, "evaluations": nfe} | figures


def test_means_over_seeds(tmp_path):
    heun, real = results.over_seeds(quality_rows())
    assert heun[:5] == ("heun", "karras", 6, 5, 3) and real.name == results.TEST_IMAGES
    np.testing.assert_allclose(heun.figures["frechet"], (2, 1 / math.sqrt(3)))
    results.write_quality([heun, real], tmp_path / "quality.csv")
    lines = (tmp_path / "quality.csv").read_text().splitlines()
    assert lines[1].startswith("heun,karras,6,5,3,2,0.57735,") and len(lines) == 3
    level = ev.LevelLoss(0.1, ev.Mean(0.25, 0.011), ev.Mean(0.2, 0.01), ev.Mean(0.05, 0.002))
    text = results.markdown({"bits": ev.Mean(2.5, 0.03)}, {"test": [level]}, [heun, real])
    assert "| bits | 2.50 ± 0.03 |" in text
    assert "| 0.1 | 0.25 ± 0.01 | 0.20 ± 0.01 | 0.050 ± 0.002 |" in text
    assert text.index("| test images |") < text.index("| heun, karras | 5 | 2.0 ± 0.6 |")
    results.draw_quality([heun, real], tmp_path / "quality.png")
    results.draw_levels({"test": [level]}, tmp_path / "levels.png")
    for name in ("quality.png", "levels.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_numbers_and_their_errors():
    for mean, text in (
        ((0.19034, 0.00043), "0.1903 ± 0.0004"),
        ((112.3, 12.0), "112 ± 12"),
        ((112.34, 1.26), "112 ± 1"),
        ((0.5, math.nan), "0.5"),
        ((0.0, 0.0), "0"),
        ((4.6e-32, 3e-33), "5e-32 ± 3e-33"),
    ):
        assert results.plus_minus(ev.Mean(*mean)) == text


def test_labels_of_a_plot_are_apart():
    np.testing.assert_allclose(report.spread([0.1, 0.12, 0.5], 0.05), [0.1, 0.15, 0.5])
    np.testing.assert_allclose(report.spread([0.9, 0.99, 1.0], 0.05), [0.9, 0.95, 1.0])


# The classifier and its file


@pytest.fixture
def features(tmp_path):
    """The file of a classifier that was never trained."""
    path = tmp_path / "features.safetensors"
    _, params = functional(ev.Classifier(rngs=nnx.Rngs(0)))
    training.save_weights(path, params, {"classifier": "mnist", "test_accuracy": 0.5})
    return path


@pytest.fixture
def classifier_script():
    path = ROOT / "benchmarks" / "mnist" / "train_classifier.py"
    spec = importlib.util.spec_from_file_location("train_classifier", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_classifier_of_a_file(features):
    classifier = ev.load_classifier(features)
    net = ev.Classifier(rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).uniform(-1, 1, (7, 28, 28, 1)).astype(np.float32)
    seen = classifier(images, chunk_size=3)
    np.testing.assert_allclose(
        seen.features, net.features(jax.numpy.asarray(images)), rtol=1e-4, atol=1e-5
    )
    logits = np.asarray(net(jax.numpy.asarray(images)))
    odds = np.exp(logits)
    np.testing.assert_allclose(seen.probabilities, odds / odds.sum(1, keepdims=True), rtol=1e-4)
    _, params = functional(net)
    counted = sum(array.size for array in params.values())
    assert f"{counted:,} parameters" in ev.Classifier.__doc__
    assert classifier.test_accuracy == 0.5 and classifier.sha256 == subject.sha256(features)


def test_another_file_is_refused(features, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no classifier .*: train one with"):
        ev.load_classifier(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="does not hold the classifier of MNIST: train one with"):
        ev.load_classifier(checkpoint(tmp_path / "run") + "/weights.safetensors")
    features.write_bytes(features.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        ev.load_classifier(features)


def test_a_bad_classifier_is_not_written(classifier_script, tmp_path, monkeypatch):
    images = np.zeros((10, 28, 28), np.uint8)
    labels = np.arange(10, dtype=np.uint8)
    monkeypatch.setattr(training, "load_mnist", lambda *_, **__: (images, labels))
    monkeypatch.setattr(subject, "load_mnist", lambda *_, **__: (images, labels))
    train = lambda *_: functional(ev.Classifier(rngs=nnx.Rngs(0)))  # noqa: E731
    with pytest.raises(ValueError, match=r"right on 10.00% of the test images and must be on 99%"):
        classifier_script.make_classifier(tmp_path / "c.safetensors", train=train)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_classifier_learns_and_does_so_again(classifier_script):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 512).astype(np.int32)
    images = rng.integers(0, 60, (512, 28, 28, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):  # a bar in the place of its class
        image[4 + 2 * label : 6 + 2 * label, 4:24] += 180
    runs = [
        classifier_script.train_classifier(images, labels, num_calls=3, progress=False)
        for _ in range(2)
    ]
    for name, array in runs[0][1].items():
        np.testing.assert_array_equal(array, runs[1][1][name])
    classifier = ev.TrainedClassifier(*runs[0], "", 0.0)
    seen = classifier(subject.scaled(images[..., 0]))
    assert (seen.probabilities.argmax(axis=1) == labels).mean() > 0.9


# The command


def checkpoint(directory, data="mnist", classes=False, loss="edm"):
    """The file of a network that was never trained."""
    shape = (8, 8, 1) if data == "digits" else (28, 28, 1)
    return untrained.weights(
        directory, data=data, loss=loss, shape=shape, num_classes=10 if classes else 0
    )


def test_what_is_evaluated(tmp_path):
    edm = subject.load_subject(checkpoint(tmp_path / "edm"))
    assert edm.own == {"sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2}
    assert edm.schedule == {"sigma_data": 0.5} and edm.sigma_max == 80.0
    labels = np.arange(10)
    assert edm.cond(labels) is None
    classes = subject.load_subject(checkpoint(tmp_path / "classes", classes=True))
    assert classes.cond(labels) is labels
    song = subject.load_subject(checkpoint(tmp_path / "dsm", loss="dsm"))
    assert song.own is None and song.sigma_max == pytest.approx(9.84, abs=0.01)
    assert song.schedule == {"sigma_data": 0.5, "sigma_max": song.sigma_max}
    of_flow = subject.load_subject(checkpoint(tmp_path / "flow", loss="flow"))
    assert of_flow.own is None and of_flow.schedule == {"sigma_data": 0.5}


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["--checkpoint", "/nowhere"], "There is no /nowhere"),
        (["--checkpoint", "FASHION"], "fashion: there is no such file"),
        (["--samplers", "huen@karras:9"], "Did you mean 'heun'"),
        (["--samplers", "heun"], "does not say how"),
        (["--num-samples", "20"], "--num-samples must be from 100"),
        (["--num-samples", "9"], "--num-samples: must be an integer of at least 16, got '9'"),
        (["--seeds", "0"], "--seeds: must be an integer of at least 1, got '0'"),
        (["--chunk-size", "0"], "--chunk-size: must be an integer of at least 1, got '0'"),
        (["--data_dir", "/nowhere"], "/nowhere holds neither train-images"),
        (["--features", "/nowhere"], "There is no classifier /nowhere: train one with"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_written(
    arguments, phrase, tmp_path, capsys, monkeypatch
):
    if "--features" in arguments:
        monkeypatch.setattr(subject, "load_mnist", mnist)
    arguments = [checkpoint(tmp_path / a, a.lower()) if a.isupper() else a for a in arguments]
    out, base = tmp_path / "out", ["--checkpoint", checkpoint(tmp_path / "run")]
    with pytest.raises(SystemExit) as stop:
        command.main([*base, f"--out={out}", *arguments])
    assert stop.value.code
    assert phrase in capsys.readouterr().err + str(stop.value)
    assert not out.exists()


def mnist(data_dir=None, *, split="train"):
    rng = np.random.default_rng(len(split))
    return rng.integers(0, 256, (150, 28, 28), np.uint8), rng.integers(0, 10, 150, np.uint8)


@pytest.fixture
def few(monkeypatch):
    """A few random images for MNIST, of which little is measured with --quick."""
    monkeypatch.setattr(subject, "load_mnist", mnist)
    amounts = ev.Amounts(100, 2, ("euler@karras:3",), 60, 8, 8, 3)
    monkeypatch.setattr(command, "QUICK", amounts)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [False, True])
def test_the_command_resumes_where_it_was_interrupted(
    classes, features, few, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    options = ["--quick", f"--checkpoint={checkpoint(tmp_path / 'run', classes=classes)}"]
    options += [f"--out={out}", f"--features={features}"]
    measured, calls = quality.figures_of, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measured(*args)

    monkeypatch.setattr(quality, "figures_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.main(options)
    before = (out / "samples.csv").read_text()
    assert len(before.splitlines()) == 3 and not (out / "evaluation.md").exists()
    command.main(options)
    after = (out / "samples.csv").read_text()
    assert after.startswith(before) and len(calls) == 5
    keys = [line.split(",")[:5] for line in after.splitlines()[1:]]
    assert keys == [
        [*method, str(seed), nfe]
        for seed in range(2)
        for *method, nfe in ((results.TEST_IMAGES, "", "0", "0"), ("euler", "karras", "3", "3"))
    ]
    levels = (out / "levels.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in levels[1:]] == ["test"] * 3 + ["training"] * 3
    summary = (out / "summary.csv").read_text()
    assert "bits per dimension" in summary and "its own sigma_data" in summary
    command.main([*options, "--samplers", "heun@karras:3"])  # adds two rows to the four
    assert len(calls) == 7 and (out / "samples.csv").read_text().startswith(after)
    for name in ("quality.csv", "evaluation.md", "quality.png", "levels.png"):
        assert (out / name).stat().st_size > 100
    assert json.loads((out / "evaluation.json").read_text())["num_samples"] == 100
    with pytest.raises(SystemExit, match="num_samples is 100 there and 120 here"):
        command.main([*options, "--num-samples", "120"])
    said = capsys.readouterr()
    assert "| test images |" in said.out and "Without features" not in said.err
    _, params = functional(ev.Classifier(rngs=nnx.Rngs(1)))
    training.save_weights(features, params, {"classifier": "mnist", "test_accuracy": 0.5})
    with pytest.raises(SystemExit, match=r"sha256 is .* there.*Choose another directory"):
        command.main(options)


@pytest.mark.slow
def test_without_features_the_figures_of_pixels_are_measured(features, few, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--quick", f"--checkpoint={checkpoint(tmp_path / 'run')}", f"--out={out}"]
    command.main(options)
    said = capsys.readouterr()
    assert "warning: Without features of a classifier there are no Fréchet distance" in said.err
    assert "benchmarks/mnist/train_classifier.py" in said.err and "--features" in said.err
    assert "copied: share" in said.out and "frechet" not in said.out
    header, *lines = (out / "copies.csv").read_text().splitlines()
    assert header.split(",")[5:] == list(quality.PIXEL_FIGURES) and len(lines) == 4
    assert not (out / "quality.png").exists() and (out / "levels.png").exists()
    # With features in the same directory: the figures of the network are kept.
    summary = (out / "summary.csv").read_text()
    command.main([*options, f"--features={features}"])
    assert (out / "summary.csv").read_text().startswith(summary)
    assert len((out / "samples.csv").read_text().splitlines()) == 5


# The front door


@pytest.mark.parametrize(
    "old, new",
    [
        ("Judge", "TrainedClassifier"),
        ("Seen", "Classified"),
        ("Way", "Method"),
        ("parse_way", "parse_methods"),
    ],
)
def test_an_old_name_is_the_new_one_with_a_warning(old, new):
    with pytest.warns(DeprecationWarning, match=rf"{old} is now edmjax.evaluation.{new}"):
        assert getattr(ev, old) is getattr(ev, new)
    with pytest.raises(AttributeError, match="has no attribute 'Weigh'"):
        _ = ev.Weigh


@pytest.mark.parametrize("room", [ev, ej.comparison])
def test_dir_has_the_public_names_alone(room):
    assert dir(room) == sorted(room.__all__)
    assert all(hasattr(room, name) for name in room.__all__)
