"""Commands that live in the scripts of a checkout."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import edmjax


def script(name: str, why: str) -> ModuleType:
    """scripts/`name`.py of the checkout that the package or the current directory is in.

    Ends the program with a sentence and the exit code 2 where there is none; `why` is what it has
    to be there for.
    """
    # A checkout that is installed in place (`pip install -e .`), or else the current directory.
    places = [Path(edmjax.__file__).parents[1], Path.cwd()]
    found = [place for place in places if (place / "tests" / "certificates").is_dir()]
    if not found:
        print(
            f"edmjax {name} needs a checkout of the project, because {why}: run it from the "
            f"checkout's root. There is none in {' or '.join(map(str, places))}.",
            file=sys.stderr,
        )
        sys.exit(2)
    spec = importlib.util.spec_from_file_location(name, found[0] / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
