"""Names and shapes of whole networks: one to one with those of diffusers, in both spellings.

`checks/pretrained_names.py` has made the lists. No array is made here.
"""

import functools
import gzip
import json

import pytest
from support.pretrained import GOLDEN
from support.pretrained_configs import CONFIGS

from edmjax.pretrained import building, names

_OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@functools.cache
def lists():
    return json.loads(gzip.decompress((GOLDEN / "names.json.gz").read_bytes()))


def spelt(name, old):
    """The name that an older file has, where `old` are the attentions that had others."""
    for path in old:
        for new, former in _OLD.items():
            if name.startswith(f"{path}.{new}."):
                return name.replace(f"{path}.{new}.", f"{path}.{former}.")
    return name


# The others make the same modules more often.
@pytest.mark.parametrize(
    "network",
    [
        "ddpm-cifar10",
        *(
            pytest.param(name, marks=pytest.mark.thorough)
            for name in CONFIGS
            if name != "ddpm-cifar10"
        ),
    ],
)
def test_one_to_one(network):
    _, make = building.build(CONFIGS[network], network)
    _, wanted = building.shapes_of(make, network)
    listed = lists()[network]
    for old in ([], listed["old"]):
        found = {spelt(name, old): tuple(shape) for name, shape in listed["arrays"].items()}
        matched = names.matched(wanted, found, network)
        assert sorted(matched.values()) == sorted(found) and len(matched) == len(wanted)


def test_all_networks_are_listed():
    assert sorted(lists()) == sorted(CONFIGS)
