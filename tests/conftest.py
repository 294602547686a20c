"""Set up before JAX starts: a compile cache for later runs, and four CPU devices for meshes.

How XLA compiles in the quick tier. And what a worker may hold: compiled programs go after each
file, and as many workers start as fit into the memory that is available.
"""

import ctypes
import os
import pathlib
import sys
import types
from typing import Any

CACHE = pathlib.Path(__file__).parent.parent / ".jax_cache"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import psutil  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 4)


# ---- compilations

FAST = "JAX_DISABLE_MOST_OPTIMIZATIONS"


def pytest_configure(config):
    """XLA optimises little in the first tiers, where a program runs once or twice: half the time.

    For the slow tests, the whole tables, it compiles as it does for users, and for all tests under
    `JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest`. The variables are for the processes that tests start.
    """
    if FAST in os.environ or config.option.markexpr not in (
        "not thorough and not slow",  # pyproject.toml has it
        "thorough",
    ):
        return
    os.environ[FAST] = "1"
    jax.config.update(FAST.lower(), True)
    if jax.__version__.startswith("0.10."):  # XLA stops at a flag that it does not know
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()


# ---- annotations as claims

_checked = jaxtyping.jaxtyped
_defined: set[types.CodeType] = set()


def jaxtyped(*arguments, **options):
    """What the import hook decorates with: jaxtyping's, where there is something to check.

    A check costs 15 us and reading a plan calls `is_traced` a hundred times a step, so functions
    that take anything go without. beartype reads annotations where a function is defined, which
    takes milliseconds: one within another, defined anew at each call, is checked once a file.
    """
    if arguments:
        return _checked(*arguments, **options)

    def decorate(function):
        if isinstance(function, types.FunctionType):
            if all(hint in (Any, bool) for hint in function.__annotations__.values()):
                return function
            if "<locals>" in function.__qualname__:
                if function.__code__ in _defined:
                    return function
                _defined.add(function.__code__)
        return _checked(function, **options)

    return decorate


jaxtyping.jaxtyped = jaxtyped


@pytest.fixture
def x64():
    """Float64 in this test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked(monkeypatch):
    """Without the run-time type checks of the tests, which a user does not have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A test is in one tier: with both marks, as of two parameters, in the slow one."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.own_markers = [mark for mark in item.own_markers if mark.name != "thorough"]


# ---- memory

WORKER_BYTES = 1.5e9  # what a worker may hold at its peak
PEAKS: dict[str, tuple[float, str]] = {}  # worker -> bytes and file, where the workers start
_highest = (0.0, "")  # the peak of this process, and the file that it is of


@pytest.fixture(scope="module", autouse=True)
def nothing_stays_of_a_file(request):
    """A worker holds the compiled programs of one file, not of all the files that it has run.

    `clear_caches` frees them, but glibc keeps what is freed: only `malloc_trim` gives it back.
    """
    global _highest
    yield
    if peak_bytes() > _highest[0]:
        _highest = peak_bytes(), request.path.name
    _defined.clear()
    jax.clear_caches()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def peak_bytes():
    """The most memory that this process has held; 0 on Windows, which does not say."""
    try:
        import resource
    except ImportError:
        return 0.0
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """For `-n auto`: one worker a core, fewer where their memory would not fit."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # pytest-xdist reads it
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min(cores, int(psutil.virtual_memory().available // WORKER_BYTES)))


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["highest"] = _highest


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    highest = getattr(node, "workeroutput", {}).get("highest")  # a worker that died says nothing
    if highest:
        PEAKS[node.gateway.id] = highest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    peaks = {name: peak for name, peak in (PEAKS or {"this process": _highest}).items() if peak[0]}
    if peaks:
        each = ", ".join(
            f"{n} {peak / 1e9:.2f} GB in {f}" for n, (peak, f) in sorted(peaks.items())
        )
        over = max(peaks.values())[0] > WORKER_BYTES
        terminalreporter.write_line(
            f"peak memory: {each} (at most {WORKER_BYTES / 1e9:.1f} GB)", red=over, green=not over
        )
