"""What to say where a batch does not fit in memory: how many samples would."""

import os
from collections.abc import Callable
from typing import Any

import jax

from edmjax._common.typing import PyTree

_ROOM = 0.9  # of what is free: allocators lose some to fragments
_FEW = (4, 8)  # batches that are measured, by the memory of their compiled programs


def is_exhausted(err: BaseException) -> bool:
    """Whether XLA says that memory ran out, in compiling or in running."""
    return "RESOURCE_EXHAUSTED" in str(err) or "Out of memory" in str(err)


def too_large(
    rows: int, run: Callable[..., Any], batched: PyTree, device: Any, devices: int = 1
) -> MemoryError:
    """The error for a batch of `rows` samples, with the largest power of two that would fit.

    `run(batched)` is compiled for a few samples, and the memory of these programs says what one
    more sample takes.

    Args:
        rows: the samples that did not fit.
        run: the function of the batch.
        batched: a pytree of shapes and dtypes; axis 0 of every leaf counts the samples.
        device: where it runs.
        devices: how many such devices split the batch.
    """
    said = f"A batch of {rows} samples does not fit in the memory of {device.device_kind}"
    advice = "use `ej.sample_in_chunks`, which holds one chunk on the device at a time,"
    try:
        free = _free(device)
        low, high = (_bytes_of(run, batched, n) for n in _FEW)
    except Exception:
        # Not even a few samples may fit, and not every system says how much memory is free. Out of
        # memory must stay a MemoryError, whatever else goes wrong on the way to its message.
        return MemoryError(f"{said}: {advice} with a smaller `chunk_size`.")
    each = max((high - low) / (_FEW[1] - _FEW[0]), 1.0)
    fits = int((_ROOM * free - (low - _FEW[0] * each)) / each) * devices
    size = 1 << max(min(fits, rows - 1), 1).bit_length() - 1  # a power of two, not above
    takes = f"{said}, {free / 2**30:.3g} GiB of which are free; a sample takes "
    takes += f"{each / 2**20:.3g} MiB"
    if fits < 1:
        return MemoryError(f"{takes}, and not even one fits: use a smaller network or more memory.")
    return MemoryError(f"{takes}: {advice} with `chunk_size={size}`.")


def _bytes_of(run: Callable[..., Any], batched: PyTree, rows: int) -> int:
    few = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype), batched
    )
    used: Any = jax.jit(run).lower(few).compile().memory_analysis()
    return used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes


def _free(device: Any) -> int:
    """The bytes that a device has left; on a CPU, that the machine has left.

    `os.sysconf` knows them on Linux; elsewhere it raises ValueError or does not exist.
    """
    known = device.memory_stats() or {}
    if "bytes_limit" in known:
        return known["bytes_limit"] - known.get("bytes_in_use", 0)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
