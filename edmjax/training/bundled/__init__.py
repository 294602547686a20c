"""Networks that come with the package, each a file of this directory.

digits    8x8 grey images of scikit-learn's digits, with their ten classes (label dropout 0.1)

Their weights are kept in 8 bits, as `training/compact.py` writes them.
"""

import functools
from pathlib import Path


@functools.cache
def bundled() -> dict[str, Path]:
    """Name to file."""
    files = sorted(Path(__file__).parent.glob("*.safetensors"))
    return {file.stem: file for file in files}
