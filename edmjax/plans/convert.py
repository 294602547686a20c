"""A plan as Python source that needs NumPy or PyTorch alone."""

import textwrap
from typing import Any

import jax
import numpy as np

from edmjax._common.arguments import one_of
from edmjax._common.arrays import has_tracers
from edmjax.planning.file import printable
from edmjax.planning.scale import STAND_IN, nearer
from edmjax.planning.table import PlanLike, check_plan

# What a plan can be written for, and the module that its file imports.
FRAMEWORKS: dict[str, str] = {"numpy": "numpy", "torch": "torch"}

_TEMPLATE = '''\
"""{title}

    x0 = sample(denoise, x, noises)

`denoise(x, sigma)` returns E[x0 | x] for data under noise of standard deviation `sigma`, a float.
`x` is START times standard normal noise, and `noises` are DRAWS draws like `x`.
Written by `edmjax plan convert`; what the numbers mean: edmjax, docs/plan_format.md.
"""

import {module}

START = {start}
DRAWS = {draws}
SIGMAS = {sigmas}
SCALE = {scale}
# For each row the weights of the points and the outputs before it, the newest first, and of draws.
POINTS = {y}
OUTPUTS = {d}
RAWS = {r}
NOISES = {z}


def walk(x, noises=()):
    """Yields (x, sigma), is sent what the denoiser returns of them, and returns the sample."""
    points, outputs, raws = [x], [], []
    for row in range(len(SIGMAS) + 1):
        log_var = 0.0
        if row:
            out = yield points[-1] / SCALE[row - 1], SIGMAS[row - 1]
            out = out if isinstance(out, dict) else {{"x0": out}}
            outputs.append(out["x0"])
            raws.append(out.get("raw", out["x0"]))
            log_var = out.get("log_var", 0.0)
        point = 0.0 * x
        for weights, parts in ((POINTS, points), (OUTPUTS, outputs), (RAWS, raws)):
            for weight, part in zip(weights[row], reversed(parts)):
                point = point + weight * part if weight else point
        for number, weight, exponent in NOISES[row]:
            spread = {module}.exp(exponent * log_var) if exponent else 1.0
            point = point + weight * spread * noises[number]
        points.append(point)
    return points[-1]


def sample(denoise, x, noises=()):
    """The sample that the plan makes of `x`; see the top of this file."""
    walker = walk(x, noises)
    x, sigma = next(walker)
    while True:
        try:
            x, sigma = walker.send(denoise(x, sigma))
        except StopIteration as done:
            return done.value
'''


def convert(plan: PlanLike, to: str = "numpy") -> str:
    """The text of a Python file with the numbers of `plan` and a function that samples by them.

    The file needs NumPy or PyTorch and nothing else. Its `sample(denoise, x, noises)` computes in
    the dtype of `x`, with the weights in float64 as the plan has them, so that in float64 it gives
    what `ej.sample` gives with `noise=noises`, up to the order of sums. Its generator `walk(x,
    noises)` is the same for loops of another library, which evaluate the network themselves. Both
    keep every point and output until the end.

    Args:
        plan: from `ej.make_plan`, `Plan.load` or a fit.
        to: "numpy" or "torch".

    Raises:
        TypeError: `plan` is not a plan, or is traced.
        ValueError: it is a stack of plans, or `to` is another framework.
    """
    check_plan(plan)
    module = FRAMEWORKS[one_of(to, "to", list(FRAMEWORKS))]
    if has_tracers(plan):
        raise TypeError(
            "`plan` is traced, and under jit it has no numbers to write: return it from the jitted "
            "function and convert it outside."
        )
    if plan.scale is not None:
        # As the loop does for a denoiser that does not say how far it can be trusted.
        with jax.enable_x64(True):
            # Outside of this block, arithmetic with arrays of JAX would be in float32.
            plan = jax.tree.map(np.asarray, nearer(plan, np.float64, STAND_IN / 2))
    rows = plan.nfe + 1
    scale = np.ones(rows) if plan.scale is None else plan.scale
    raws = np.zeros((rows, 0)) if plan.r is None else plan.r
    title = f"A plan of edmjax: {plan.nfe} evaluations of a denoiser"
    told = printable(plan.about.fitted_on).replace("\\", "/").replace('"', "'")
    return _TEMPLATE.format(
        title=f"{title}, fitted on {told}." if told else f"{title}.",
        module=module,
        start=repr(_start(plan)),
        draws=plan.num_draws,
        sigmas=_list(plan.sigmas),
        scale=_list(scale[:-1]),
        y=_table(plan.y),
        d=_table(plan.d),
        r=_table(raws),
        z=_noises(plan),
    )


def _start(plan: Any) -> float:
    """The standard deviation of the noise that the plan starts from."""
    first = float(np.asarray(plan.grid)[0])
    if plan.scale is None:
        return first
    if np.isinf(first):
        return float(plan.scale[0] * plan.sigmas[0])
    # The first row is the start, with more noise where the sampler adds some, in another scale.
    return first * float(plan.scale[0] / plan.y[0, 0])


def _list(values: Any) -> str:
    return _wrapped(repr([float(v) for v in np.asarray(values, np.float64)]))


def _table(table: Any) -> str:
    """Rows of weights, without the zeros at their ends."""
    rows = []
    for row in np.asarray(table, np.float64):
        last = int(np.max(np.flatnonzero(row), initial=-1)) + 1
        rows.append(repr([float(v) for v in row[:last]]))
    return _lines(rows)


def _noises(plan: Any) -> str:
    """For each row the triples (number of the draw, weight, exponent of its log-variance)."""
    exponents = np.zeros(np.shape(plan.z)) if plan.v is None else plan.v
    tables = (np.asarray(table) for table in (plan.draws, plan.z, exponents))
    rows = []
    for numbers, weights, powers in zip(*tables, strict=True):
        there = zip(numbers, weights, powers, strict=True)
        row = [(int(n), float(w), float(p)) for n, w, p in there if n >= 0 and w != 0]
        rows.append(repr(row))
    return _lines(rows)


def _lines(rows: list[str]) -> str:
    return "[\n" + "".join(f"{_wrapped(row, '    ')},\n" for row in rows) + "]"


def _wrapped(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(text, 94, break_long_words=False, break_on_hyphens=False)
    return "\n".join(indent + line for line in lines)
