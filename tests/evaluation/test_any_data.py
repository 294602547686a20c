"""What is measured of a network of any data: figures of sets in closed form, and the command."""

import csv
import json
import sys

import jax
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from support import untrained

import edmjax as ej
from edmjax import evaluation as ev, training
from edmjax.cli import evaluate as command, train
from edmjax.evaluation import features, parts, quality

KEY = jax.random.key(0)


def normals(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# Figures of two sets


def figures(made, real, x=None, y=None, names=tuple(quality.SET_FIGURES)):
    of = None if x is None else (x, y)
    return quality.set_figures(made, real, ev.make_nearest(real), of, names, KEY)


@pytest.mark.thorough
def test_a_set_against_itself():
    x = normals(0, 200, 3)
    found = figures(x, x, x, x, [n for n in quality.SET_FIGURES if n != "c2st"])
    assert found["frechet"] == pytest.approx(0, abs=1e-12) and found["sliced_wasserstein"] == 0
    assert found["precision"] == found["recall"] == found["copied"] == 1
    assert all(found[f"distance_{q}"] == 0 for q in (0, 1, 10, 50, 90))


def test_sets_that_are_apart():
    x, y = normals(0, 160, 2), normals(1, 160, 2) + np.array([30.0, 0.0])
    found = figures(x, y, x, y)
    assert list(found) == list(quality.SET_FIGURES)
    assert found["c2st"] == 1 and found["precision"] == found["recall"] == found["copied"] == 0
    # Along a direction u the sets are |30 u_x| apart, whose mean square is 30^2 / 2.
    assert found["sliced_wasserstein"] == pytest.approx(30 / 2**0.5, rel=0.1)
    # 2 E|X - Y| - E|X - X'| - E|Y - Y'|, and E|X - X'| = sqrt(pi) in two dimensions.
    assert found["energy"] == pytest.approx(60 - 2 * np.pi**0.5, rel=0.05)
    nearest = np.sort(cdist(x, y), axis=1)[:, 0]
    assert found["distance_50"] == pytest.approx(np.median(nearest), rel=1e-5)


def test_samples_that_diverged_are_refused():
    x = normals(0, 40, 2)
    with pytest.raises(ValueError, match="1 of 40 samples are not finite"):
        figures(np.where(np.arange(80).reshape(40, 2) == 5, np.nan, x), x)


# Data and features


def trained_on(dataset, tmp_path, **more):
    """The network of a file, with the units of `dataset`, that was never trained."""
    net = training.NetConfig(name="mlp", width=8, num_blocks=1)
    if len(dataset.image_shape) == 3:
        net = training.NetConfig(channels=[4], embed_dim=8, classes="num_classes" in more)
    about = {"units": dataset.units.describe(), "clip": dataset.clips(None), **more}
    run = untrained.weights(tmp_path / "run", shape=dataset.image_shape, net=net, **about)
    return run, training.load_trained(run)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_other_data_for_a_network_of_digits_go_from_minus_1_to_1(tmp_path, dtype):
    run = untrained.weights(tmp_path / "run")
    trained, (_, config) = training.load_trained(run), training.load_weights(run)
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8))
    want = (x / 127.5 - 1)[..., None]
    np.save(tmp_path / "x.npy", (want[..., 0] if dtype == "float32" else x).astype(dtype))
    if dtype == "int64":
        with pytest.raises(ValueError, match="sees images from -1 to 1, and what these whole"):
            parts.load_parts(config, trained, test=str(tmp_path / "x.npy"))
        return
    digits, other = parts.load_parts(config, trained, test=str(tmp_path / "x.npy"))
    np.testing.assert_allclose(other.seen(), want, atol=1e-6)
    assert len(digits) == 1797 and digits.take(np.arange(9)).seen().min() == -1


@pytest.mark.parametrize(
    "dtype, channels", [("uint8", None), ("int64", "first"), ("float64", None)]
)
def test_samples_before_rounding(dtype, channels):
    x = np.random.default_rng(0).integers(0, 200, (30, 3, 4, 2)).astype(dtype)
    units = training.Dataset.of(x, channels=channels).units
    back = parts.unrounded(units, np.asarray(units.seen(units.stored(x)), np.float32))
    np.testing.assert_allclose(back, x, atol=1e-4)
    made = 0.5 * normals(1, 5, *units.net_shape).astype(np.float32)
    exact = parts.unrounded(units, made)
    assert exact.shape == (5, 3, 4, 2)
    rounded = np.clip(np.rint(exact), x.min(), x.max()) if units.whole else exact
    if dtype != "uint8":
        np.testing.assert_array_equal(units.to_data(made), rounded)
    assert units.whole == (exact.dtype == np.float32)


def test_a_function_of_the_user_s_is_given_the_data_s_units(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_features.py").write_text(
        "import numpy as np\n\nseen = []\n\n\ndef means(x):\n    seen.append(x)\n"
        "    return x.reshape(len(x), -1)[:, :5]\n\n\ndef wrong(x):\n    return x.mean()\n"
    )
    x = np.random.default_rng(0).integers(0, 256, (300, 6, 5, 3)).astype(np.uint8)
    dataset = training.Dataset.of(x)
    _, trained = trained_on(dataset, tmp_path)
    part = parts.Part(dataset, trained, np.arange(300))
    found = features.load_features("my_features:means", trained)
    np.testing.assert_allclose(found.of_part(part), x.reshape(300, -1)[:, :5], atol=1e-4)
    seen = sys.modules["my_features"].seen
    assert {v.shape[1:] for v in seen} == {(6, 5, 3)} and max(map(len, seen)) <= 250
    wrong = features.load_features("my_features:wrong", trained)
    with pytest.raises(ValueError, match=r"must map a batch .* to features \(250, d\), got"):
        wrong.of_part(part)
    with pytest.raises(ValueError, match="my_features has no means2"):
        features.load_features("my_features:means2", trained)
    with pytest.raises(ValueError, match=r"my_features:seen must be a function, got list"):
        features.load_features("my_features:seen", trained)
    with pytest.raises(ValueError, match="features are a function, package"):
        features.load_features("classifier.safetensors", trained)


def test_small_samples_are_their_own_features(tmp_path):
    dataset = training.Dataset.of(normals(0, 40, 3) * 7 + 2)
    _, trained = trained_on(dataset, tmp_path)
    part = parts.Part(dataset, trained, np.arange(40))
    found = features.load_features(None, trained).of_part(part)
    np.testing.assert_allclose(found.std(axis=0), 1, rtol=1e-5)
    large = trained._replace(image_shape=(20, 20, 3))
    assert features.load_features(None, large) is None


# The command


def run_command(*options):
    command.main([*map(str, options), "--seeds", "1", "--samplers", "euler@karras:3"])


@pytest.fixture
def few(monkeypatch):
    """Little is measured with --quick."""
    amounts = ev.Amounts(100, 1, ("euler@karras:3",), 60, 8, 8, 3)
    monkeypatch.setattr(command, "QUICK", amounts)


@pytest.mark.thorough
def test_the_command_measures_vectors(tmp_path, few, capsys):
    np.save(tmp_path / "x.npy", x := normals(0, 120, 3) * 4 + 1)
    np.save(tmp_path / "new.npy", new := normals(1, 50, 3) * 4 + 1)
    dataset = training.Dataset.of(x)
    run, trained = trained_on(dataset, tmp_path, data=str(tmp_path / "x.npy"), levels=[0.01, 40.0])
    out = tmp_path / "out"
    options = ["--checkpoint", run, "--out", out, "--quick", "--num-samples", "40"]
    options += ["--test", tmp_path / "new.npy"]
    run_command(*options)
    said = capsys.readouterr()
    assert "| held-out samples |" in said.out and "warning" not in said.err
    rows = list(csv.DictReader((out / "samples.csv").open()))
    assert [row["sampler"] for row in rows] == ["held-out samples", "euler"]
    # The line of real samples, from the data alone.
    rng = np.random.default_rng(0)
    real, held = (v.astype(np.float32) for v in (x[rng.choice(120, 40, False)], new))
    held = held[rng.choice(50, 40, False)]
    mean, std = x.mean(0), x.std(0)
    a, b = (held - mean) / std, (real - mean) / std
    assert float(rows[0]["frechet"]) == pytest.approx(ev.frechet_distance(a, b), rel=1e-4)
    assert float(rows[0]["precision"]) == ev.precision_recall(b, a).precision
    nearest = np.sort(cdist(a, (x - mean) / std), axis=1)[:, 0]
    assert float(rows[0]["distance_50"]) == pytest.approx(np.median(nearest), rel=1e-4)
    # The line of samples, from those that are drawn with the seed.
    ends = "karras(sigma_min=0.01, sigma_max=40.0)"
    plan = ej.make_plan(ej.samplers.euler(), training.parse_schedule(ends, 3))
    made = training.draw(trained.denoise, plan, (3,), num_samples=40, seed=0, clip=False)
    assert float(rows[1]["frechet"]) == pytest.approx(ev.frechet_distance(made, b), rel=1e-4)
    splits = [row["split"] for row in csv.DictReader((out / "levels.csv").open())]
    assert splits == ["training"] * 3 + ["held-out"] * 3
    summary = (out / "summary.csv").read_text()
    assert "loss on training samples" in summary and "loss on held-out samples" in summary
    assert "bits per dimension" not in summary
    before = (out / "samples.csv").read_bytes()
    run_command(*options)
    assert (out / "samples.csv").read_bytes() == before
    assert json.loads((out / "features.json").read_text()) == {"features": "the numbers"}
    assert all((out / f"{name}.png").stat().st_size > 100 for name in ("levels", "quality"))


@pytest.mark.slow
def test_bytes_with_classes_have_bits_and_what_cannot_be_said_is_a_sentence(tmp_path, few, capsys):
    x = np.random.default_rng(0).integers(0, 256, (60, 20, 20, 3)).astype(np.uint8)
    y = np.arange(60) % 4
    np.savez(tmp_path / "x.npz", x=x, y=y)
    np.savez(tmp_path / "new.npz", x=x[:20], y=y[:20])
    more = {"data": str(tmp_path / "x.npz"), "num_classes": 4}
    run, _ = trained_on(training.Dataset.of(x, labels=y), tmp_path, **more)
    out = tmp_path / "out"
    options = ["--checkpoint", run, "--out", out, "--quick", "--test", tmp_path / "new.npz"]
    run_command(*options)
    said = capsys.readouterr()
    for phrase in (
        "There are 60 training samples, so sets have 60, not 100.",
        "20 samples were held out, fewer than the 60 of a set",
        "A sample has 1200 numbers, more than 1000",
    ):
        assert phrase in said.err
    assert "bits per dimension" in said.out and "frechet" not in said.out
    assert "| held-out samples |" not in said.out


@pytest.mark.parametrize(
    "options, phrase",
    [
        (["--data", "OTHER"], "its samples have the shape (4,), and the network is for (3,)"),
        (["--data", "nowhere.npy"], "nowhere.npy: there is no such file or directory"),
        (["--data", "FEW"], "Sets of 9 samples are too few to compare, 16 are the least"),
        (["--features", "nowhere:f"], "there is no module nowhere in the working directory"),
        (["--features", "inception=nowhere"], "is for images of whole numbers"),
        (["--samplers", "huen@karras:9"], "Did you mean 'heun'"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_written(options, phrase, tmp_path, capsys):
    for name, shape in (("x", (20, 3)), ("OTHER", (20, 4)), ("FEW", (9, 3))):
        np.save(tmp_path / f"{name}.npy", normals(0, *shape))
    dataset = training.Dataset.of(normals(0, 20, 3))
    run, _ = trained_on(dataset, tmp_path, data=str(tmp_path / "x.npy"))
    options = [str(tmp_path / f"{o}.npy") if o.isupper() else o for o in options]
    with pytest.raises(SystemExit) as stop:
        command.main(["--checkpoint", run, "--out", str(tmp_path / "out"), *options])
    assert phrase in f"{stop.value} {capsys.readouterr().err}"
    assert not (tmp_path / "out").exists()


@pytest.mark.thorough
def test_a_part_that_was_held_out_and_conditions_are_those_of_the_run(tmp_path):
    """Against a split and conditions that training makes, which the file only names."""
    cond = normals(1, 80, 2) * 3 + 5
    dataset = training.Dataset.of(normals(0, 80, 3), cond=cond)
    np.savez(tmp_path / "x.npz", x=dataset.images, cond=cond)
    data = str(tmp_path / "x.npz")
    options = ["--data", data, "--held_out", "0.25", "--out", tmp_path / "run", "--seed", "5"]
    options += ["--net.width", "8", "--net.num_blocks", "1", "--optim.steps", "2"]
    options += ["--optim.batch_size", "4", "--sample.num_samples", "2", "--sample.num_steps", "2"]
    train.main([*map(str, options)])
    trained = training.load_trained(tmp_path / "run")
    _, config = training.load_weights(tmp_path / "run")
    seen, held = parts.load_parts(config, trained)
    assert len(seen) == 60 and len(held) == 20
    assert not {*seen.which} & {*held.which}
    want = (cond - cond.mean(0)) / cond.std(0)
    np.testing.assert_allclose(held.given(), want[held.which], rtol=1e-5, atol=1e-5)
    x = dataset.images
    want = (x - x.mean(0)) / x.std(0)
    np.testing.assert_allclose(held.seen(), want[held.which], rtol=1e-4, atol=1e-4)
    other, none = parts.load_parts(config, trained, data=data)
    assert len(other) == 80 and none is None


def test_conditions_of_other_data_are_scaled_as_those_of_the_run(tmp_path):
    """By the mean and the deviation of the run's own, which were measured on other numbers."""
    before, after = normals(0, 60, 2) * 3 + 5, normals(1, 40, 2) + 20
    x = normals(2, 60, 3)
    dataset = training.Dataset.of(x, cond=before)
    np.savez(tmp_path / "x.npz", x=x, cond=before)
    np.savez(tmp_path / "other.npz", x=x[:40], cond=after)
    np.savez(tmp_path / "none.npz", x=x)
    np.savez(tmp_path / "wide.npz", x=x, cond=np.ones((60, 5)))
    trained = training.Trained(
        lambda x, sigma: x, (3,), 0, 0.0, units=dataset.units, conditions=dataset.conditions
    )
    config, options = {"data": str(tmp_path / "x.npz")}, {"test": str(tmp_path / "other.npz")}
    seen, other = parts.load_parts(config, trained, **options)
    assert seen is not None and other is not None
    mean, std = before.mean(0), before.std(0)
    np.testing.assert_allclose(seen.given(), (before - mean) / std, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other.given(), (after - mean) / std, rtol=1e-5, atol=1e-5)
    for name, phrase in (("none", "it has no conditions"), ("wide", "must have the shape")):
        with pytest.raises(training.DataError, match=f"{name}.npz.*{phrase}"):
            parts.load_parts(config, trained, test=str(tmp_path / f"{name}.npz"))


def test_options_of_the_run_s_data_are_not_asked_of_others(tmp_path):
    """A directory has a size and `hf:` has columns; what a run has measured is in its units."""
    x = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    units = training.Dataset.of(x).units
    trained = training.Trained(lambda x, sigma: x, (4, 4, 3), 0, 0.0, units=units)
    config = {"data": "hf:photos", "data_size": 4, "data_columns": "image", "data_scale": "measure"}
    seen, _ = parts.load_parts(config, trained, data=str(tmp_path / "x.npy"))
    np.testing.assert_allclose(seen.seen(), x / 127.5 - 1, atol=1e-6)
