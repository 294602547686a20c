"""The certificates hold, and a check that could not fail would be found: see `flipped`."""

import ast
import dataclasses
import inspect
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.cases import GAUSSIAN, MIXTURE, Gaussian, Mixture
from support.certificates import CERTIFICATES
from support.claims import THROUGH_THE_LOOP, findings, loop_findings
from support.helpers import KINDS, gaussian, later, mixture, over

from edmjax import samplers
from edmjax.planning.point import Combination

pytestmark = pytest.mark.usefixtures("unchecked")  # checks would take longer than what they check

ROOT = pathlib.Path(__file__).parents[2]
SHARED = [name for name, entry in CERTIFICATES.items() if entry.shared]
CALLED = {name: ast.parse(e.code).body[0].value.func.id for name, e in CERTIFICATES.items()}
SAMPLERS = {called: name for name, called in reversed(CALLED.items())}.values()  # its first entry
COSTLY = ("order", "uneven", "formal", "weak")


def test_every_public_sampler_has_a_certificate():
    public = {
        name
        for name in samplers.__all__
        if inspect.isfunction(getattr(samplers, name)) and name != "from_name"
    }
    assert public == set(CALLED.values())


@pytest.mark.parametrize(
    "names",
    [SAMPLERS, *later(CERTIFICATES.keys() - SAMPLERS, mark=pytest.mark.slow)],
    ids=["samplers", "options"],
)
def test_a_parity_of_every_sampler_holds(names):
    """And fails of each with a flipped weight: see `flipped`."""
    parity = {name: CERTIFICATES[name].parity[0] for name in names}
    assert [name for name in names if not parity[name].holds(CERTIFICATES[name].make())] == []


@pytest.mark.parametrize("name", over(SHARED, ("heun", "dpmpp_2m", "unipc", "ddpm"), KINDS))
def test_the_claims_hold(name):
    """Of the others `checks/certify.py` measures the orders."""
    failed = [finding for finding in findings(CERTIFICATES[name]) if not finding.holds]
    assert failed == []


@pytest.mark.slow  # checks/certify.py runs them too
@pytest.mark.parametrize("name", [name for name in CERTIFICATES if name not in KINDS])
def test_the_claims_but_the_orders_hold_of_every_option(name):
    for finding in findings(CERTIFICATES[name]):
        if finding.kind in COSTLY:
            break
        assert finding.holds, finding


def test_every_entry_claims_something_that_is_measured():
    for name, entry in CERTIFICATES.items():
        assert entry.parity, name
        # Where the noise is scaled or gated, the law is not that of the data.
        gated = ("s_noise", "1.05", "1.003", "1.007", "restart")
        fast = entry.code.startswith("dpm_fast")
        assert entry.order or entry.weak or fast or any(word in entry.code for word in gated), name


@pytest.mark.parametrize("name", THROUGH_THE_LOOP)
def test_the_loop_runs_the_rows_of_a_plan(name):
    assert [finding for finding in loop_findings(CERTIFICATES[name]) if not finding.holds] == []


def test_the_closed_forms_in_numpy_are_those_of_the_package(x64):
    x = np.random.default_rng(0).normal(size=(7, 2))
    for sigma in (0.01, 0.7, 30.0):
        for one, other in ((Mixture(**MIXTURE), mixture()), (Gaussian(**GAUSSIAN), gaussian())):
            np.testing.assert_allclose(
                one.denoise(x, sigma), other.denoise(x, sigma), rtol=1e-12, atol=1e-14
            )
    np.testing.assert_allclose(
        Gaussian(**GAUSSIAN).flow(x, 5.0, 0.5), gaussian().flow(x, 5.0, 0.5), rtol=1e-12
    )


# ---- a check that cannot fail counts as missing


def flipped(sampler, factor):
    """`sampler` with one weight of each step above zero multiplied by `factor`: its largest."""

    def step(x, at):
        x = sampler(x, at)
        if at.last:
            return x
        name = max(x.weights, key=lambda name: abs(x.weights[name]))
        return Combination({**x.weights, name: factor * x.weights[name]})

    return step


@pytest.mark.parametrize("factor", [1 + 1e-3, *later(-1.0)])
def test_a_flipped_weight_fails_every_certificate(factor):
    passed = []
    for name, entry in CERTIFICATES.items():
        sampler = flipped(entry.make(), factor)
        if any(parity.holds(sampler) for parity in entry.parity):
            passed.append(name)
    assert passed == []


@pytest.mark.parametrize(
    "name, claims",
    [
        ("heun", {"order": 3}),
        pytest.param("heun", {"order": 1}, marks=pytest.mark.thorough),
        pytest.param("dpmpp_3m_corrected", {"formal": (2, 2)}, marks=pytest.mark.thorough),
        pytest.param("dpmpp_3m", {"formal": (3, 2)}, marks=pytest.mark.slow),
        pytest.param("lms", {"order": 3}, marks=pytest.mark.slow),
        pytest.param("unipc", {"order": 3}, marks=pytest.mark.slow),
        ("ddpm", {"weak": 2}),
        pytest.param("dpmpp_sde", {"weak": 1}, marks=pytest.mark.slow),
        ("heun", {"nfe": "n"}),
        ("pndm", {"nfe": "n"}),
        ("heun", {"zero": "own"}),
        ("lms", {"zero": "denoiser"}),
        ("ddim", {"equals": ("heun",)}),
        ("ddpm", {"equals": ("ddim",)}),
        ("dpmpp_2m", {"equals": ("dpmpp_2m_heun",)}),
        ("heun", {"float32": 1e-8}),
        ("heun", {"bfloat16": 1e-5}),
        pytest.param("ipndm", {"uneven": 2}, marks=pytest.mark.thorough),
    ],
)
def test_a_wrong_claim_fails(name, claims):
    entry = dataclasses.replace(CERTIFICATES[name], **claims)
    assert not all(finding.holds for finding in findings(entry))


@pytest.mark.thorough
def test_the_script_fails_on_a_flipped_sign_in_the_source(tmp_path):
    for part in ("edmjax", "tests", "checks"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "edmjax" / "samplers" / "runge_kutta.py"
    text = source.read_text()
    assert text.count("w_2 * (d_2 - d)") == 1
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "checks/certify.py", "heunpp2"]
    results = []
    for source_text in (text, text.replace("w_2 * (d_2 - d)", "w_2 * (d_2 + d)")):
        source.write_text(source_text)
        results.append(
            subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        )
    assert results[0].returncode == 0, results[0].stderr
    assert results[1].returncode == 1
    assert "heunpp2: parity: claimed paper" in results[1].stderr


# ---- the documentation


def test_the_documentation_prints_the_table():
    lines = (ROOT / "docs" / "certificates.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(CERTIFICATES)
    for line, entry in zip(rows, CERTIFICATES.values(), strict=True):
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        claimed = [cell.partition(":")[0] for cell in cells[1:5]]
        expected = [
            entry.order, entry.uneven_order, entry.formal and entry.formal[0], entry.weak
        ]  # fmt: skip
        assert cells[0] == f"`{entry.code}`"
        assert claimed == ["-" if order is None else str(order) for order in expected]
        assert cells[5:7] == [entry.nfe, entry.zero]
        assert float(cells[7].partition(",")[0]) < entry.float32
        assert float(cells[8].partition(",")[0]) < entry.bfloat16
        against = [part.partition(":")[0] for part in cells[10].split("; ")]
        assert against == [parity.against for parity in entry.parity]
