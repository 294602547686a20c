"""What tests of pretrained networks and the script of their goldens share; it imports no torch.

Every array of a network is redrawn, from the counter-based generator of its name: a golden then
holds a configuration, inputs and outputs, and no weights.
"""

import functools
import hashlib
import json
import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "pretrained" / "golden"


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers of this name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape)


def redrawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a file with this name and shape, so that activations stay of order 1."""
    draw = normal(name, shape)
    if len(shape) == 1:
        return 1 + 0.2 * draw if name.endswith("weight") else 0.2 * draw
    is_table = "class_embedding.weight" in name or "embedding_table" in name
    return draw if is_table else draw / np.sqrt(np.prod(shape[1:]))


@functools.cache
def golden(case: str) -> dict:
    """The configuration, the inputs and the outputs of a case; images are channels first."""
    with np.load(GOLDEN / f"{case}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return {"config": json.loads(str(arrays.pop("config"))), **arrays}


def cases(kind: str) -> list[str]:
    return sorted(path.stem for path in GOLDEN.glob(f"{kind}*.npz"))
