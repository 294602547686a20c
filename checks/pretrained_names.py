"""Writes the names and shapes of the arrays of whole networks: golden/names.json.gz.

    pip install --group reference
    python checks/pretrained_names.py

The networks are those of `support.pretrained_configs`, made by diffusers on the "meta" device of
PyTorch, which holds no arrays. For each: {name: shape}, and the attentions that older files spell
in another way, by the mark with which diffusers finds them.
"""

import gzip
import json
import pathlib
import sys

import diffusers
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from support.pretrained import GOLDEN
from support.pretrained_configs import CONFIGS


def main() -> None:
    found = {}
    for name, config in CONFIGS.items():
        options = {key: value for key, value in config.items() if not key.startswith("_")}
        with torch.device("meta"):
            net = getattr(diffusers, config["_class_name"])(**options)
        arrays = {key: list(array.shape) for key, array in net.state_dict().items()}
        old = [
            path
            for path, module in net.named_modules()
            if getattr(module, "_from_deprecated_attn_block", False)
        ]
        found[name] = {"arrays": arrays, "old": old}
        total = sum(array.numel() for array in net.state_dict().values())
        print(
            f"{name}: {len(arrays)} arrays, {total / 1e6:.1f} M numbers, {len(old)} old attentions"
        )
    packed = gzip.compress(json.dumps(found).encode(), mtime=0)
    (GOLDEN / "names.json.gz").write_bytes(packed)
    print(f"{len(packed) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
