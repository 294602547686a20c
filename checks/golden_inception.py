"""Writes tests/support/golden/inception.json: torch-fidelity's Inception at weights drawn anew.

    python checks/golden_inception.py      # with torch and torch-fidelity 0.4.0 installed

The file holds the shapes of the kernels by torch-fidelity's names, and the features of a few
images. Weights and images are drawn by tests/support/inception.py, which the test reads too, so
that no weights are stored. The published weights are not needed.
"""

import json
import pathlib
import sys
import tempfile

import torch
import torch.hub
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import inception  # noqa: E402


def blank() -> FeatureExtractorInceptionV3:
    """The module with the weights that it was made with."""
    # It reads a file when it is made, before anyone knows the shapes: none is read here.
    load, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda *_: None
    try:
        with tempfile.NamedTemporaryFile(suffix=".pth") as file:
            torch.save({}, file.name)
            return FeatureExtractorInceptionV3(
                "inception", ["2048"], feature_extractor_weights_path=file.name
            )
    finally:
        torch.nn.Module.load_state_dict = load


def main() -> None:
    net = blank()
    state = net.state_dict()
    shapes = {
        name.removesuffix(".conv.weight"): list(values.shape)
        for name, values in state.items()
        if name.endswith(".conv.weight")
    }
    drawn = {k: torch.from_numpy(v) for k, v in inception.draw_weights(shapes).items()}
    assert drawn.keys() == {k for k in state if ".conv." in k or ".bn." in k} - {
        k for k in state if k.endswith("num_batches_tracked")
    }
    net.load_state_dict(drawn, strict=False)
    with torch.no_grad():
        features = [
            net(torch.from_numpy(x).permute(0, 3, 1, 2))[0].numpy() for x in inception.draw_images()
        ]
    # Eight digits: float32 has seven.
    rows = [[float(f"{v:.8g}") for v in row] for batch in features for row in batch]
    text = json.dumps({"source": "torch-fidelity 0.4.0", "shapes": shapes, "features": rows})
    path = ROOT / "tests" / "support" / "golden" / "inception.json"
    path.write_text(text + "\n", encoding="utf-8")
    print(path, len(text), min(map(min, rows)), max(map(max, rows)))


if __name__ == "__main__":
    main()
