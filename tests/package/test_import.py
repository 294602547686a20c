"""`import edmjax` is light, and everything is reachable from it."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

import edmjax as ej

ROOT = pathlib.Path(__file__).parents[2]


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
        "posterior",
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


EXTRAS = {
    "edmjax.nn": "train",
    "edmjax.training": "train",
    "edmjax.learning": "train",
    "edmjax.evaluation": "train",
    "edmjax.plot": "plot",
    "edmjax.terms": "diffrax",
    "edmjax.comparison": "train,diffrax",
}


def test_a_missing_extra_names_the_pip_command():
    """However a room is imported: as an attribute, by `import`, and by `from ... import`."""
    forms = ["{}", "import {}", "from {} import *"]
    statements = {form.format(room): extra for room, extra in EXTRAS.items() for form in forms}
    statements["edmjax.brownian(jax.random.key(0)).diffrax_path(jax.numpy.ones(3))"] = "diffrax"
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("flax", "optax", "matplotlib", "diffrax")))
import jax, edmjax
for statement in {list(statements)}:
    try:
        exec(statement)
    except ImportError as err:
        print(type(err).__name__, err)
"""
    said = python(code).splitlines()
    for line, extra in zip(said, statements.values(), strict=True):
        assert line.startswith("ImportError ") and "which is not installed" in line
        assert f"pip install 'edmjax[{extra}]'" in line


def test_digits_without_scikit_learn_are_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"The dataset digits needs 'sklearn.*edmjax\[train\]"):
        ej.training.load_dataset("digits")


@pytest.mark.thorough  # in its own process; tests/cli/test_cli.py has the sentence
@pytest.mark.parametrize(
    "name, package",
    [("compare", "diffrax"), pytest.param("train", "flax", marks=pytest.mark.slow)],
)
def test_a_script_without_an_extra_ends_with_a_sentence(name, package):
    code = f"""
import runpy, sys
sys.modules[{package!r}], sys.argv = None, ["{name}.py", "--out", "x"]
runpy.run_path({str(ROOT / "scripts" / f"{name}.py")!r}, run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: edmjax {name} needs {package!r}, which is not installed: pip")


def test_the_package_is_marked_as_typed():
    assert (pathlib.Path(ej.__file__).parent / "py.typed").exists()
