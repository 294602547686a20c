"""Files of a public data set: read from a directory, or downloaded once, and always verified."""

import os
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from edmjax.training.files import StrPath


def content(
    names: Sequence[str],
    dataset: str,
    data_dir: StrPath | None,
    mirrors: Sequence[str],
    verified: Callable[[bytes, str], bytes],
) -> bytes:
    """What `verified(bytes of a file, where it is)` makes of a file that has one of these names.

    With `data_dir`, only files in it are read. Without it, the file comes from `~/.cache/edmjax`
    (or below `XDG_CACHE_HOME`). The last of the names is that on the `mirrors`, from which it is
    downloaded when missing.

    Raises:
        FileNotFoundError: the file is missing in `data_dir`.
        OSError: a missing file could not be downloaded.
        ValueError: of `verified`: it is another file.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache, "edmjax", dataset) if data_dir is None else Path(data_dir)
    for path in (folder / name for name in names):
        if path.is_file():
            return verified(path.read_bytes(), str(path))
    if data_dir is not None:
        missing = f"neither {' nor '.join(names)}" if len(names) > 1 else f"no {names[0]}"
        raise FileNotFoundError(
            f"{folder} holds {missing}. Point the data directory at the files of {dataset}, or "
            "leave it out to download them."
        )
    return _download(names[-1], dataset, folder, mirrors, verified)


def _download(
    name: str,
    dataset: str,
    folder: Path,
    mirrors: Sequence[str],
    verified: Callable[[bytes, str], bytes],
) -> bytes:
    """The content of a file from the first mirror that has it; the file is kept in `folder`."""
    failures = []
    for mirror in mirrors:
        url = f"{mirror}{name}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                packed = answer.read()
            found = verified(packed, url)
        except (OSError, ValueError) as err:
            failures.append(f"{url}: {err}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        # Another process may do the same at once, so the name appears when the file is whole.
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(packed)
        os.replace(file.name, folder / name)
        return found
    raise OSError(
        f"{name} could not be downloaded. {' '.join(failures)} On a machine without a network, "
        f"copy the files of {dataset} there and pass their directory as the data directory."
    )
