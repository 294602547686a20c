"""Networks that come with the package, each a file of this directory.

digits    8x8 grey images of scikit-learn's digits
mnist     28x28 grey images of MNIST

Both know the ten classes, with label dropout 0.1: one file serves prior, classes and guidance.
Their weights are kept in 8 bits, as `training/compact.py` writes them.
"""

import functools
from pathlib import Path


@functools.cache
def bundled() -> dict[str, Path]:
    """Name to file."""
    files = sorted(Path(__file__).parent.glob("*.safetensors"))
    return {file.stem: file for file in files}
