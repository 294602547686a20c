"""Writes the names and shapes of the arrays of EDM's and EDM2's networks: nvlabs_names.json.gz.

    pip install --group reference
    python checks/pretrained_nvlabs_names.py EDM EDM2

EDM and EDM2 are checkouts of the authors' code, as for `pretrained_nvlabs.py`. The networks are
those of `support.nvlabs_configs`, made by the authors' classes on the "meta" device of PyTorch,
which holds no arrays.
"""

import gzip
import json
import pathlib
import sys
import tempfile
from typing import Any

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from pretrained_nvlabs import imported
from support.nvlabs_configs import CONFIGS
from support.pretrained import GOLDEN


def main(edm: str, edm2: str) -> None:
    sys.path.insert(0, edm2)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, config in CONFIGS.items():
            own = config["_class_name"] == "Precond"
            file = "networks_edm2.py" if own else "networks.py"
            text = (pathlib.Path(edm2 if own else edm) / "training" / file).read_text()
            module = imported(text, file.removesuffix(".py"), folder)
            for network in ("UNet",) if own else ("SongUNet", "DhariwalUNet"):
                without_arrays(module, network)
            options = {key: value for key, value in config.items() if not key.startswith("_")}
            net = getattr(module, config["_class_name"])(**options)
            arrays = {key: list(array.shape) for key, array in net.state_dict().items()}
            total = sum(array.numel() for array in net.state_dict().values())
            print(f"{name}: {len(arrays)} arrays, {total / 1e6:.1f} M numbers")
            found[name] = arrays
    packed = gzip.compress(json.dumps(found).encode(), mtime=0)
    (GOLDEN / "nvlabs_names.json.gz").write_bytes(packed)
    print(f"{len(packed) / 1000:.0f} kB")


def without_arrays(module: Any, network: str) -> None:
    """Makes a class of `module` on the "meta" device; what is around it computes with numbers."""
    kind = getattr(module, network)
    if getattr(kind, "on_meta", False):
        return

    def made(**options: Any) -> Any:
        with torch.device("meta"):
            return kind(**options)

    made.on_meta = True  # type: ignore[attr-defined]
    setattr(module, network, made)


if __name__ == "__main__":
    main(*sys.argv[1:])
