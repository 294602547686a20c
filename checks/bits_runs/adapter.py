"""The only file that knows how edmjax spells its names: runs go through it.

The runs are written in one vocabulary and must work with both packages that are compared. So a
name or keyword that changes is entered here, as what it may be called instead; which of them a
package has is found out by looking. `api` is the package seen through these tables:

    api.samplers.euler_maruyama(lam=0.5)    # `lam` where the package has it, else `eta`
"""

import contextlib
import importlib
import importlib.util
import inspect
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

import edmjax as ej

ROOT = Path(ej.__file__).parent.parent

# Path of a name, without "edmjax." -> other paths, the first that there is being taken.
PATHS: dict[str, tuple[str, ...]] = {"adaptive.adaptive": ("adaptive.multistep",)}
# (path of a function or "*", keyword) -> other spellings of the keyword.
KEYWORDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("samplers.euler_maruyama", "lam"): ("eta",),
    ("samplers.reverse_diffusion", "lam"): ("eta",),
    ("samplers.sa_solver", "tau"): ("eta",),
    ("terms.sde_terms", "lam"): ("eta",),
}
# Names that a module holds and that are no samplers of their own.
_NO_SAMPLERS = {"from_name", "gaussian_split"}


class Names:
    """A module of the package, whose functions take the keywords of the tables above."""

    def __init__(self, path: str):
        self._path = path

    def __getattr__(self, name: str) -> Any:
        path = f"{self._path}.{name}".lstrip(".")
        found = next(
            (thing for p in (path, *PATHS.get(path, ())) if (thing := _find(p)) is not None), None
        )
        if found is None:
            raise AttributeError(f"this package has no {path}")
        if isinstance(found, ModuleType):
            return Names(path)
        return translated(found, path) if inspect.isfunction(found) else found


def _find(path: str) -> Any:
    thing = ej
    for name in path.split("."):
        if isinstance(thing, ModuleType) and not hasattr(thing, name):
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(f"{thing.__name__}.{name}")
        thing = getattr(thing, name, None)
    return thing


def translated(function: Callable[..., Any], path: str) -> Callable[..., Any]:
    """`function`, called with its own spelling of each keyword."""

    def call(*args: Any, **options: Any) -> Any:
        there = inspect.signature(function).parameters
        given = {}
        for name, value in options.items():
            others = KEYWORDS.get((path, name), ()) + KEYWORDS.get(("*", name), ())
            given[next((n for n in (name, *others) if n in there), name)] = value
        return function(*args, **given)

    call.function = function  # type: ignore[attr-defined]
    return call


api = Names("")


def sampler(text: str) -> Any:
    """The sampler that a text such as "churn(heun(), s_churn=8.0)" makes."""
    return eval(text, {"__builtins__": {}, "inf": float("inf")}, _Lookup("samplers"))


class _Lookup(dict):
    def __init__(self, path: str):
        self._names = Names(path)

    def __missing__(self, name: str) -> Any:
        if name in ("processes", "diffrax"):
            return Names(name) if name == "processes" else importlib.import_module(name)
        if name == "from_diffrax":
            return api.terms.from_diffrax
        try:
            return getattr(self._names, name)
        except AttributeError:
            raise KeyError(name) from None


def sampler_names() -> list[str]:
    """The public samplers and wrappers of this package: functions in `edmjax.samplers`."""
    return sorted(name for name in _functions("samplers") if name not in _NO_SAMPLERS)


def schedule_names() -> list[str]:
    """The public functions of `edmjax.schedules` whose first argument is a number of levels."""
    return sorted(
        name
        for name, thing in _functions("schedules").items()
        if next(iter(inspect.signature(thing).parameters), None) in ("n", "nfe", "num_steps")
    )


def _functions(path: str) -> dict[str, Callable[..., Any]]:
    """The public functions of a module, by name."""
    module = importlib.import_module(f"edmjax.{path}")
    names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    found = {name: getattr(module, name) for name in names}
    return {name: thing for name, thing in found.items() if inspect.isfunction(thing)}


PLAN_FIELDS = ("sigmas", "grid", "step", "y", "d", "z", "draws", "intervals", "r", "scale", "v")


def plan_arrays(plan: Any) -> dict[str, Any]:
    """The arrays of a plan by name, those that it lacks left out."""
    found = {name: getattr(plan, name) for name in PLAN_FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def adaptive_result(result: tuple[Any, Any]) -> dict[str, Any]:
    """The sample and the evaluations, one number a sample, of `(x0, report)` or `(x0, nfe)`."""
    x0, second = result
    batch = jax.tree.leaves(x0)[0].shape[:1]
    return {"x0": x0, "nfe": jnp.broadcast_to(getattr(second, "nfe", second), batch)}


def report_arrays(report: Any) -> dict[str, Any]:
    """What `sample_checked` found, by name."""
    names = ("evaluation", "sigma", "samples", "in_point", "evaluations")
    return {name: getattr(report, name) for name in names}


def command(*arguments: str) -> None:
    """Runs the command `edmjax`, in this process; `RuntimeError` where it fails."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, function = project["project"]["scripts"]["edmjax"].split(":")
    _run_main(getattr(importlib.import_module(module), function), arguments)


def script_or_command(script: str, name: str, *arguments: str) -> None:
    """Runs the command of this name, or the script that it was before there was one."""
    path = ROOT / "scripts" / script
    if f'"{name}"' in _sources_of_command() or not path.exists():
        command(name, *arguments)
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _run_main(module.main, arguments)


def _sources_of_command() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module = project["project"]["scripts"]["edmjax"].split(":")[0]
    return inspect.getsource(importlib.import_module(module))


def _run_main(main: Callable[..., Any], arguments: Sequence[str]) -> None:
    cached = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    finally:  # `compare`, which times compilations, turns it off
        jax.config.update("jax_enable_compilation_cache", cached)
    if code:
        said = getattr(sys.stderr, "getvalue", str)()[-300:]
        raise RuntimeError(f"edmjax {' '.join(arguments)} ended with {code}: {said}")
