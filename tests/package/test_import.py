"""`import edmjax` is light, and everything is reachable from it."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

import edmjax as ej


def python(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_loads_jax_numpy_and_jaxtyping_alone():
    code = """
import sys, jax, jaxtyping
before = set(sys.modules)
import edmjax
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    # wadler_lindig is how jaxtyping prints.
    allowed = {"edmjax", "jax", "numpy", "jaxtyping", "jaxlib", "wadler_lindig"}
    assert set(python(code).split()) <= allowed
    heavy = (
        "flax",
        "diffrax",
        "orbax",
        "optax",
        "tqdm",
        "matplotlib",
        "sklearn",
        "equinox",
        "beartype",
    )
    loaded = python(
        "import sys, edmjax; print(*{name.split('.')[0] for name in sys.modules})"
    ).split()
    assert not set(heavy) & set(loaded)


def test_submodules_are_lazy_and_listed():
    for name in (
        "samplers",
        "schedules",
        "denoisers",
        "processes",
        "problems",
        "losses",
        "nn",
        "training",
    ):
        assert name in dir(ej)
        assert importlib.util.find_spec(f"edmjax.{name}")
    code = """
import sys, edmjax as ej
assert "edmjax.samplers" not in sys.modules
ej.samplers.heun()
print("ok")
"""
    assert python(code) == "ok\n"
    with pytest.raises(AttributeError, match="no attribute 'heun'"):
        ej.heun  # noqa: B018


def test_a_missing_extra_names_the_pip_command():
    code = """
import sys
sys.modules["flax"] = None
import edmjax
try:
    edmjax.nn
except ImportError as err:
    print(err)
"""
    assert "pip install 'edmjax[train]'" in python(code)


def test_the_package_is_marked_as_typed():
    assert (pathlib.Path(ej.__file__).parent / "py.typed").exists()
