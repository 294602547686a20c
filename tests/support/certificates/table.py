"""What a certificate says, and the one table that holds them."""

import ast
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import edmjax as ej
from edmjax import samplers
from support.orders import STEPS
from support.parity import Discrete, Parity

# Evaluations of n steps down to zero, as text for the documentation and as a function.
COUNTS: dict[str, Callable[[int], int]] = {
    "n": lambda n: n,
    "n + 1": lambda n: n + (n > 1),
    "n - 1": lambda n: n - (n > 1),
    "2n - 1": lambda n: 2 * n - 1,
    "3n - 2": lambda n: 3 * n - 2,
    "4n - 3": lambda n: 4 * n - 3,
    "3n - 3": lambda n: max(1, 3 * n - 3),
    "n + 9": lambda n: n + 3 * min(n - 1, 3),
    "2n + 11": lambda n: 2 * n - 1 + 12 * (n > 1),
    "n + 6": lambda n: n + 6 * (n > 1),
    "n + 3": lambda n: n + 3 * (n > 1),
    "n + 2": lambda n: n + 2 * (n > 1),
    "2n + 3": lambda n: 2 * n - 1 + 4 * (n > 1),
    "2n + 15": lambda n: 2 * n - 1 + 16 * (n > 1),
}


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What a sampler claims.

    Attributes:
        code: the sampler, in the names of `edmjax.samplers`; `n` is the number of steps.
        nfe: a key of `COUNTS`. For few steps the function there is exact.
        parity: what it is compared with.
        order: along the flow, as shipped; None where it draws.
        uneven: the order where steps alternate, 1:2:1:2, from exact starting values for a multistep
            method; None where it is that on even steps.
        formal: the order from exact starting values, and how many: a multistep method's.
        highest: the order that still shows on the grids of the check, where a part of the error
            that is of lower order (that of the start) but small shows later.
        weak: the weak order, where it draws.
        weak_steps: the grids on which it is measured.
        steps: the grids on which the order along the flow is measured.
        zero: "denoiser" where the step to zero is exactly the denoiser, "own" where it is the
            method's formula.
        equals: entries, or code, with the same plan.
        float32: below what the median difference between samples of float32 and of float64 is.
        bfloat16: the same with points of bfloat16 and a network that computes in it.
        shared: whether the tests that run over all samplers take it.
    """

    code: str
    nfe: str
    parity: tuple[Parity, ...]
    order: int | None = None
    uneven: int | None = None
    formal: tuple[int, int] | None = None
    highest: int | None = None
    weak: int | None = None
    weak_steps: tuple[int, int] = (320, 640)
    steps: tuple[int, ...] = STEPS
    zero: str = "denoiser"
    equals: tuple[str, ...] = ()
    float32: float = 1e-6
    bfloat16: float = 1e-2
    shared: bool = False

    def make(self) -> Any:
        return build(self.code)

    @property
    def uneven_order(self) -> int | None:
        even = self.formal[0] if self.formal else self.order
        return even if self.uneven is None else self.uneven

    def evaluations(self, n: int) -> int:
        return COUNTS[self.nfe](n)


def build(code: str) -> Any:
    """The sampler of an entry's code; one that names `n` is made anew for each grid."""
    names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    space = {**vars(samplers), **OPTIONS}
    if "n" not in names:
        return eval(code, space)

    @functools.cache
    def of(n):
        return eval(code, {**space, "n": n})

    return lambda x, at: of(at.num_steps)(x, at)


OPTIONS = {
    "inf": np.inf,
    "edm": ej.processes.edm,
    "vp": ej.processes.vp,
    "song_ve": ej.processes.song_ve,
    "cosine": ej.processes.cosine,
    "table": Discrete,  # the levels of diffusers' default betas
    "every": range(1000),
    "root": lambda sigma: sigma**0.5,
}
CERTIFICATES: dict[str, Certificate] = {}


def add(code, nfe, *parity, name=None, **claims):
    name = name or code
    assert name not in CERTIFICATES, name
    CERTIFICATES[name] = Certificate(code, nfe, parity, **claims)
