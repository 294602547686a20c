"""Pictures of samples: they are read back as the samples, and the way to them ends in them."""

import numpy as np
import pytest
from PIL import Image
from support import untrained

import edmjax as ej
from edmjax import training
from edmjax.cli import sample as command
from edmjax.training import pictures

PLAN = ej.make_plan(ej.samplers.euler(), ej.schedules.karras(3))


def trained_on(dataset, tmp_path, **more):
    about = {"units": dataset.units.describe(), "clip": dataset.clips(None), **more}
    run = untrained.weights(tmp_path / "run", shape=dataset.image_shape, **about)
    return run, training.load_trained(run)


def parts(x):
    return lambda: [(first, x[first : first + 7]) for first in range(0, len(x), 7)]


def written(x, tmp_path, labels=None, channels=None, **more):
    dataset = training.Dataset.of(x, labels=labels, channels=channels)
    _, trained = trained_on(dataset, tmp_path, **more)
    folder, grid = pictures.write_images(parts(x), tmp_path, labels, trained)
    assert folder == tmp_path / "images" and not (tmp_path / "images.unfinished").exists()
    with Image.open(grid) as image:
        assert min(image.size) >= 56
    return training.load_dataset(str(folder))


@pytest.mark.parametrize(
    "dtype, shape", [("uint8", (4, 5, 3)), ("uint8", (4, 5)), ("uint16", (4, 5))]
)
def test_bytes_are_read_back_as_they_were_and_with_their_classes(tmp_path, dtype, shape):
    rng = np.random.default_rng(0)
    x = rng.integers(0, np.iinfo(dtype).max + 1, (24, *shape)).astype(dtype)
    labels = np.array(rng.permutation(24) % 12, np.int32)
    found = written(x, tmp_path, labels, num_classes=12)
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(found.images.reshape(x.shape), x[order])
    np.testing.assert_array_equal(found.labels, labels[order])
    assert found.images.dtype == x.dtype


@pytest.mark.thorough
def test_other_numbers_go_from_black_to_white(tmp_path):
    x = np.random.default_rng(0).integers(-4, 13, (20, 3, 6, 4))
    for name, data in (("whole", x), ("floats", x.astype(np.float32))):
        (tmp_path / name).mkdir()
        found = written(data, tmp_path / name, channels="first")
        want = np.rint((np.moveaxis(x, 1, -1) + 4) * (255 / 16))
        np.testing.assert_array_equal(found.images, want)
    ramp = np.linspace(-1.5, 1.5, 7).reshape(1, 1, 7, 1)
    want = [0, 0, 64, 128, 191, 255, 255]  # 63.75, 127.5 and 191.25 in the middle
    np.testing.assert_array_equal(pictures.pixels(ramp, None).ravel(), want)


@pytest.mark.thorough
@pytest.mark.parametrize("channels", [1, 3])
def test_the_way_begins_in_noise_and_ends_in_the_samples(tmp_path, channels):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 5, channels)).astype(np.uint8)
    y = np.arange(20, dtype=np.int32) % 2
    _, trained = trained_on(training.Dataset.of(x, labels=y), tmp_path, num_classes=2)
    options = {"seed": 3, "cond": y, "num_samples": 5}
    strip, gif = pictures.write_denoising(trained, PLAN, tmp_path, ["strip", "gif"], **options)
    last = training.draw(
        trained.denoise, PLAN, trained.image_shape, num_samples=5, seed=3, labels=y[:5]
    )
    want = np.rint(127.5 * (last + 1))
    zoom, high, wide = 9, 6 * 9, 5 * 9  # 56 pixels at least: 9 of a pixel, and gaps of 4
    with Image.open(strip) as image:
        shown = np.asarray(image).reshape(*image.size[::-1], -1).astype(int)
    assert shown.shape == (5 * high + 4 * 4, 4 * wide + 3 * 4, channels)
    for row in range(5):
        made = shown[row * (high + 4) :][:high:zoom, 3 * (wide + 4) :: zoom]
        assert np.abs(made - want[row]).max() <= 1
        # The first is noise, as strong as the samples.
        noise = shown[row * (high + 4) :][:high:zoom, :wide:zoom]
        assert np.std(noise) > 0.3 * np.std(made) and not np.array_equal(noise, made)
    with Image.open(gif) as image:
        assert 2 <= image.n_frames <= 4 and image.info["loop"] == 0  # equal ones are one
        image.seek(image.n_frames - 1)
        frame = np.asarray(image.convert("RGB")).astype(int)
    corner = frame[:high:zoom, :wide:zoom, :channels]
    # A GIF has 256 colours: grey is exact.
    assert np.abs(corner - want[0]).max() <= (1 if channels == 1 else 60)


@pytest.mark.thorough
def test_the_command_writes_pictures(tmp_path, capsys):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
    y = np.arange(20) % 3
    run, _ = trained_on(training.Dataset.of(x, labels=y), tmp_path, num_classes=3)
    base = ["--checkpoint", run, "--num-samples", "8", "--num-steps", "2", "--chunk-size", "3"]
    command.main([*base, "--out", str(tmp_path / "a")])
    arrays = np.load(tmp_path / "a" / "samples.npz")
    options = [
        *base,
        "--out",
        str(tmp_path / "b"),
        "--format",
        "png",
        "--denoising",
        "strip",
        "gif",
    ]
    command.main(options)
    found = training.load_dataset(str(tmp_path / "b" / "images"))
    order = np.argsort(arrays["y"], kind="stable")
    np.testing.assert_array_equal(found.images, arrays["x"][order])
    np.testing.assert_array_equal(found.labels, arrays["y"][order])
    names = {path.name for path in (tmp_path / "b").iterdir()}
    assert names == {"images", "samples.png", "denoising.png", "denoising.gif"}
    with pytest.raises(SystemExit, match="images is there already: delete it, or choose another"):
        command.main(options)


def test_what_is_no_picture_is_said_before_anything_is_drawn(tmp_path):
    net = training.NetConfig(name="mlp", width=8, num_blocks=1)
    run = untrained.weights(tmp_path / "run", shape=(3,), net=net)
    for more in (["--format", "png"], ["--denoising", "gif"]):
        with pytest.raises(SystemExit, match=r"one channel or three, and the samples .* \(3,\)"):
            command.main(["--checkpoint", run, "--out", str(tmp_path / "out"), *more])
    assert not (tmp_path / "out").exists()
