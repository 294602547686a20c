"""Files that are whole at any moment, even if the program is killed while it writes them."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

CHECKSUMS = "checksums.json"

StrPath = str | os.PathLike[str]


@contextlib.contextmanager
def advice(what: str, then: str) -> Iterator[None]:
    """Has an OSError say `what` failed, and what to do `then`."""
    try:
        yield
    except OSError as err:
        raise OSError(f"{what}: {err.strerror}. {then}") from err


def write_file(path: StrPath, content: bytes) -> None:
    """Replaces the file by `content`; until all of it is on the disk, the old file stays.

    `OSError` that names the file where it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    with advice(f"{path} could not be written", "Make room or choose another directory."):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def sha256(path: StrPath) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_directory(path: StrPath, *names: str) -> None:
    """Makes a directory, and raises `OSError` where no file can be written to it.

    `names` are files that will be: `OSError` where one of them is a directory.
    """
    path = Path(path)
    probe = path / ".writable"
    with advice(f"{path} cannot be written to", "Choose another directory."):
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    for name in names:
        if (path / name).is_dir():
            raise IsADirectoryError(
                f"{path / name} is a directory, and a file of this name is to be written: move it "
                "away, or choose another directory."
            )


def write_checksums(directory: Path) -> None:
    """Writes the sizes and SHA-256 of all files below a directory into its checksums.json."""
    write_file(directory / CHECKSUMS, json.dumps(_checksums(directory), indent=1).encode())


def damage(directory: Path) -> str | None:
    """Says what is wrong with the files of a directory, by its checksums; None if nothing is.

    Without a checksums.json (the run was killed before it was written) nothing is known.
    """
    record = directory / CHECKSUMS
    if not record.exists():
        return None
    try:
        expected = {
            str(k): (int(v[0]), str(v[1])) for k, v in json.loads(record.read_text()).items()
        }
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as err:
        return f"{record} is not what was written ({err})"
    found = _checksums(directory)
    for name, (size, digest) in expected.items():
        if name not in found:
            return f"{directory / name} is missing"
        if found[name][0] != size:
            return f"{directory / name} has {found[name][0]:,} bytes in place of {size:,}"
        if found[name][1] != digest:
            return f"{directory / name} has another content than was written (SHA-256)"
    return None


def _checksums(directory: Path) -> dict[str, tuple[int, str]]:
    sums = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != CHECKSUMS:
            sums[path.relative_to(directory).as_posix()] = (path.stat().st_size, sha256(path))
    return sums
