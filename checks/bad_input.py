"""Makes every call of the catalogue of bad input, and prints how many are refused as it says.

    python checks/bad_input.py [AREA ...]

prints the counts by area, and what does not hold.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

import jax
import jaxtyping
from bad_input.test_bad_input import TABLES, wrong


def main():
    import contextlib
    import io
    import os
    import tempfile

    jaxtyping.config.update("jaxtyping_disable", True)
    jax.config.update("jax_num_cpu_devices", 4)  # as in the tests
    failures = count = 0
    for table in TABLES:
        if len(sys.argv) > 1 and table.AREA not in sys.argv[1:]:
            continue
        bad = []
        for call, kind, words in table.CASES:
            printed = io.StringIO()
            with tempfile.TemporaryDirectory() as path:
                here = os.getcwd()
                os.chdir(path)
                with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
                    found = wrong(call, kind, words, pathlib.Path(path), printed.getvalue)
                os.chdir(here)
            bad += [f"  {call}: {found}"] if found else []
        print(f"{table.AREA}: {len(table.CASES) - len(bad)} of {len(table.CASES)} as said")
        print("\n".join(bad), flush=True)
        failures, count = failures + len(bad), count + len(table.CASES)
    print(f"{count - failures} of {count} calls are refused with the words expected")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
