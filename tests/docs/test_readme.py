"""The README's code runs, and does what the README says of it."""

import re

import jax
import numpy as np
import pytest
from support import pages

TEXT = pages.text_of("README")


@pytest.mark.thorough
def test_rows_7_to_13():
    names = pages.run("README", 0, 3)
    # Programs for 16 and for 7 rows round their matrix products otherwise.
    np.testing.assert_allclose(names["part"], names["x0"][7:14], rtol=1e-3, atol=1e-3)


def test_the_example_under_jit_holds_no_constant_above_a_kilobyte():
    names = pages.run("README", 0, 1)
    arguments = (names["net"], names["plan"], names["x"], names["key"])
    text = names["generate"].lower(*arguments).as_text()
    constants = re.findall(r"stablehlo\.constant dense<(.*?)> : tensor<(.*?)>", text)
    assert constants
    for values, kind in constants:
        *shape, _ = kind.split("x")
        splat = not values.startswith(("[", '"'))  # one value for all cells takes no room
        assert splat or np.prod([int(n) for n in shape]) * 8 <= 1024, kind


def test_the_ten_lines_are_ten_lines():
    code = pages.blocks_of("README")[-1].split("\n\n")[0].strip().splitlines()
    assert len(code) <= 10


@pytest.mark.thorough
def test_its_adams_bashforth_is_of_second_order():
    names = {}
    exec(
        compile(
            "import edmjax as ej\n" + pages.blocks_of("README")[-1].split("\n\n")[0],
            "README.md",
            "exec",
        ),
        names,
    )
    import edmjax as ej

    with jax.enable_x64(True):
        from support.helpers import mixture, uniform

        problem = mixture()
        x = 5 * jax.random.normal(jax.random.key(0), (64, 2))
        runs = [
            ej.sample(problem, ej.make_plan(names["adams_bashforth"], uniform(n)), x)
            for n in (80, 160, 5000)
        ]
        coarse, fine = (np.sqrt(np.mean((run - runs[-1]) ** 2)) for run in runs[:2])
        assert abs(np.log2(coarse / fine) - 2) < 0.15


def test_every_name_in_the_table_exists():
    import edmjax as ej

    for row in re.findall(r"^\| (`ej.*?) \|(.*)\|$", TEXT, re.M):
        owners = [name.removeprefix("ej.") for name in re.findall(r"`(.*?)`", row[0])]
        for name in owners:
            assert hasattr(ej, name)
        if owners[0] in ("samplers", "schedules", "denoisers", "processes", "problems"):
            for name in re.findall(r"`(\w+)`", row[1]):
                assert hasattr(getattr(ej, owners[0]), name), name
