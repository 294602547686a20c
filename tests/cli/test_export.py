"""The command `edmjax export`: what it writes, and what it says of mistakes."""

import importlib.util

import numpy as np
import pytest
from jax import export
from support import untrained

from edmjax import training
from edmjax.cli import export as command, sample

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("flatbuffers"), reason="the extra `export` is not installed"
)


@pytest.mark.thorough
def test_the_file_has_the_samples_of_the_command_sample(tmp_path, capsys, unchecked):
    net = training.NetConfig(name="mlp", width=16, num_blocks=1, classes=True)
    units = training.Dataset.of(np.arange(20.0).reshape(10, 2)).units.describe()
    run = untrained.weights(
        tmp_path / "run", shape=(2,), net=net, num_classes=3, units=units, clip=False
    )
    options = ["--checkpoint", run, "--guidance", "1.5", "--nfe", "3"]
    file = tmp_path / "new" / "sampler.stablehlo"
    command.main([*options, "--out", str(file)])
    said = capsys.readouterr().out
    assert f"{file}: " in said and "MB, for cpu, cuda, tpu" in said
    assert "call(seed: int32[], index: int32[n], label: int32[n]) -> float64[n,2]" in said
    sample.main([*options, "--num-samples", "5", "--seed", "7", "--out", str(tmp_path / "s")])
    drawn = np.load(tmp_path / "s" / "samples.npz")
    loaded = export.deserialize(bytearray(file.read_bytes()))
    found = loaded.call(np.int32(7), np.arange(5, dtype=np.int32), drawn["y"])
    # Float64 may differ in its last bit, where product and sum are one operation.
    np.testing.assert_allclose(found, drawn["x"], rtol=1e-15)


@pytest.mark.parametrize(
    "options, phrase",
    [
        (["--out", "OUT"], "is a directory, and a file of this name is to be written"),
        (["--sampler", "huen"], "Did you mean 'heun'"),
        (["--nfe", "4", "--sampler", "heun"], "--nfe chooses the sampler and its levels"),
        (["--guide", "x"], "--guide needs a scale"),
        (["--guidance", "2"], "needs a network that knows classes"),
        (["--platforms", "gpu"], "invalid choice: 'gpu'"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_written(options, phrase, tmp_path, capsys):
    (tmp_path / "OUT").mkdir()
    options = [str(tmp_path / option) if option == "OUT" else option for option in options]
    base = ["--checkpoint", untrained.weights(tmp_path / "run"), "--out", str(tmp_path / "new")]
    with pytest.raises(SystemExit) as stop:
        command.main([*base, *options])
    assert phrase in f"{stop.value} {capsys.readouterr().err}"
    assert not (tmp_path / "new").exists()
