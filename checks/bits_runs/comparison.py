"""The comparison of two sides: which runs are equal to the bit, and by how much others differ."""

from pathlib import Path

import ml_dtypes
import numpy as np

from bits_runs import registry, results


def report(before: Path, after: Path) -> int:
    """Prints what differs, and returns the exit code: 0 where all is equal and without errors."""
    number = equal = errors = arrays = 0
    lines: list[str] = []
    mute: list[str] = []
    seconds = {"before": 0.0, "after": 0.0}
    for mode in registry.MODES:
        a, b = results.Reader(before / mode), results.Reader(after / mode)
        for name in sorted(a.table.keys() | b.table.keys()):
            number += 1
            for side, reader in (("before", a), ("after", b)):
                seconds[side] += reader.table.get(name, {}).get("seconds", 0.0)
            found, failed, count = _compare(name, a, b)
            arrays += count
            errors += failed
            equal += not found and not failed
            lines += [f"{name} [{mode}]: {line}" for line in found]
            if count and _is_mute(b.arrays(name)):
                mute.append(f"{name} [{mode}]")
    print("\n".join(lines) + ("\n" if lines else ""), end="")
    if mute:
        print(f"{len(mute)} runs returned no finite number but constants: {', '.join(mute)}")
    minutes = ", ".join(f"{side} {value / 60:.1f}" for side, value in seconds.items())
    different = number - equal - errors
    print(
        f"{number} runs, {arrays} arrays: {equal} runs equal to the bit, {different} different, "
        f"{errors} with an error on both sides (CPU minutes of the runs: {minutes})"
    )
    return int(equal != number)


def _compare(name: str, a: results.Reader, b: results.Reader) -> tuple[list[str], bool, int]:
    """(lines that say what differs, whether both raised the same error, arrays compared)."""
    for reader, side in ((a, "before"), (b, "after")):
        if name not in reader.table:
            return [f"there is no such run on the side {side}"], False, 0
    texts = [reader.table[name].get("error") for reader in (a, b)]
    if texts[0] is not None and texts[0] == texts[1]:
        return [f"an error on both sides, {_short(texts[0])}"], True, 0
    if texts[0] is not None or texts[1] is not None:
        said = ["no error" if text is None else _short(text) for text in texts]
        return [f"before: {said[0]}; after: {said[1]}"], False, 0
    ours, theirs = a.arrays(name), b.arrays(name)
    lines = [f"{path}: only before" for path in ours.keys() - theirs.keys()]
    lines += [f"{path}: only after" for path in theirs.keys() - ours.keys()]
    shared = [path for path in ours if path in theirs]
    for path in shared:
        if ours[path] != theirs[path]:
            lines.append(f"{path or 'result'}: {_difference(ours[path], theirs[path])}")
    return lines, False, len(shared)


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:300] + " ..."


def _difference(a: tuple, b: tuple) -> str:
    (dtype, shape, content), (dtype_b, shape_b, content_b) = a, b
    if (dtype, shape) != (dtype_b, shape_b) and "text" not in (dtype, dtype_b):
        return f"{dtype}{list(shape)} before, {dtype_b}{list(shape_b)} after"
    if dtype == "text" or dtype_b == "text":
        at = next(
            (i for i, (p, q) in enumerate(zip(content, content_b, strict=False)) if p != q),
            min(len(content), len(content_b)),
        )
        part = slice(max(at - 20, 0), at + 40)
        return f"texts differ at byte {at}: {content[part]!r} before, {content_b[part]!r} after"
    kind = _kind(dtype)
    x, y = np.frombuffer(content, kind), np.frombuffer(content_b, kind)
    bits = np.dtype(f"u{kind.itemsize}") if kind.kind in "fV" else None
    if bits is None:
        moved = int((x != y).sum())
        return f"{moved} of {x.size} numbers of {dtype}{list(shape)} differ"
    moved = int((x.view(bits) != y.view(bits)).sum())
    wide = np.float64 if kind.itemsize < 8 else kind
    with np.errstate(all="ignore"):
        there = np.isfinite(x.astype(wide)) & np.isfinite(y.astype(wide))
        gap = np.abs(x.astype(wide) - y.astype(wide))[there]
    ulps = _ulps(x.view(bits), y.view(bits), there)
    apart = f"at most {ulps} ulps and {gap.max(initial=0):.3g}"
    lost = "" if there.all() else f"; {int((~there).sum())} numbers are not finite"
    return f"{moved} of {x.size} numbers of {dtype}{list(shape)} differ, by {apart}{lost}"


def _kind(dtype: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, dtype)) if hasattr(ml_dtypes, dtype) else np.dtype(dtype)


def _is_mute(arrays: dict[str, tuple]) -> bool:
    """Whether nothing in a result could tell two packages apart: all is NaN, or one number."""

    def says(dtype: str, content: bytes) -> bool:
        if dtype == "text":
            return bool(content)
        values = np.frombuffer(content, _kind(dtype))
        if values.dtype.kind in "biu":
            return values.size > 0
        values = values.astype(np.float64) if values.dtype.itemsize < 8 else values
        values = values[np.isfinite(values)]
        return bool((values != values[0]).any()) if values.size > 1 else bool(values.any())

    return not any(says(dtype, content) for dtype, _, content in arrays.values())


def _ulps(x: np.ndarray, y: np.ndarray, there: np.ndarray) -> int:
    """The largest distance in floating-point numbers: their bits in order are consecutive."""

    def ordered(bits: np.ndarray) -> list[int]:
        sign = 1 << (8 * bits.dtype.itemsize - 1)
        return [v if v < sign else sign - v for v in map(int, bits[there])]

    pairs = zip(ordered(x), ordered(y), strict=True)
    return max((abs(p - q) for p, q in pairs), default=0)
