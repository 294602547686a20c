"""The sums and means that diffusers' own scheduler tests assert, made here.

`checks/diffusers_loops.py` wrote down all of them: 190 numbers of the schedulers that have a
counterpart, and 8 of two that are refused by name. Each row that is not made says why.
"""

import numpy as np
import pytest
from support.diffusers_loops import ROWS, loop_of, sample_of

import edmjax as ej

MADE = [name for name, row in ROWS.items() if "not_made" not in row]
QUICK = [
    "dpm_multi/full_loop_no_noise_thres",
    "pndm/full_loop_with_v_prediction",
    "sasolver/full_loop_with_v_prediction",
]


def holds(name):
    magnitude = np.abs(sample_of(name))
    for kind, number, tolerance in ROWS[name]["asserted"]:
        got = magnitude.sum() if kind == "sum" else magnitude.mean()
        assert abs(got - number) < tolerance, f"{name}: {kind} {got}, asserted {number}"


@pytest.mark.parametrize("name", QUICK)
def test_some_asserted_numbers_hold(name):
    holds(name)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in MADE if name not in QUICK])
def test_the_asserted_numbers_hold(name):
    holds(name)


def test_enough_of_them_are_made():
    refused = ("LCMScheduler", "TCDScheduler")
    counted = [row for row in ROWS.values() if row["scheduler"] not in refused]
    assert sum(len(row["asserted"]) for row in counted) == 190
    missing = sum(len(row["asserted"]) for row in counted if "not_made" in row)
    assert missing == 3 and all(row.get("not_made", "because") for row in ROWS.values())


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_schedulers_of_distilled_networks_are_refused_by_name(name):
    with pytest.raises(ValueError, match=r"distilled|consistency"):
        ej.samplers.from_name(name)


@pytest.mark.thorough
def test_a_loop_runs_as_one_program(x64):
    """The same row through `sample`."""
    loop = loop_of(ROWS["deis/full_loop_with_v_prediction"])
    (plan,) = loop.plans
    got = ej.sample(loop.denoise, plan, np.asarray(loop.x))
    np.testing.assert_allclose(got, sample_of("deis/full_loop_with_v_prediction"), rtol=1e-10)
