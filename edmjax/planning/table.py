"""The plan: the table of weights that a sampler becomes when it is read over a grid.

Every sampler with a fixed grid forms linear combinations of the points it visited, the denoised
outputs it got and the noises it drew. With `nfe` evaluations there are `nfe + 1` rows; row `k`
makes the point of evaluation `k`, and the last row makes the sample:

    point_k = sum_j y[k, j] point_(k-1-j) + sum_j d[k, j] denoised_(k-1-j)
            + sum_j r[k, j] raw_(k-1-j)   + sum_s z[k, s] noise_(draws[k, s])

with `point_(-1)` the starting point. Where a network learned the variance of a step, `noise` stands
for `exp(v[k, s] log_var_(k-1)) noise`, the only term that is not linear. The sums over `j` go back
as far as the sampler needs. Weights are float64 on the host: `expm1`, quadrature and ratios of
nearly equal numbers are computed before anything runs.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np
from jax.core import Tracer

from edmjax._common.arguments import describe
from edmjax._common.arrays import has_tracers
from edmjax._common.exported import serializable
from edmjax._common.typing import Denoiser, Scalar, Values
from edmjax.planning.file import About, pair_of_levels, read_plan, write_plan


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Where to evaluate the denoiser, and how to combine what it returned.

    A pytree whose leaves are all arrays, so plans of one shape share one compiled program, whatever
    the solver, grid or options. The arrays are NumPy's, float64 (`step` and `draws` int32), where
    the levels were numbers, and JAX's where they were traced.

    Attributes:
        sigmas: (nfe,), the level of each evaluation; 2^40 where the grid starts at infinity.
        grid: (n + 1,), the levels that the plan was made from.
        step: (nfe,) int32, the number of the step that each evaluation belongs to. The first row
            with a number starts that step.
        y: (nfe + 1, points kept), weights of the points.
        d: (nfe + 1, outputs kept), weights of the denoised outputs.
        z: (nfe + 1, draws a row), weights of the noises.
        draws: (nfe + 1, draws a row) int32, the ordinal of each draw, -1 where there is none.
        intervals: (nfe + 1, draws a row, 2), the levels between which each draw is an increment of
            one path; (0, 0) where the sampler named none.
        r: (nfe + 1, raw outputs kept), weights of the raw outputs; None where none is used.
        scale: (nfe + 1,), what each row's point is multiplied by, in the scale of a process; None
            where points are held as they are.
        v: (nfe + 1, draws a row), the factors on `log_var` in the exponents of the draws, with the
            `log_var` of the evaluation before the row; None where none is used.
        about: for a fitted plan, what it was fitted on. Static, and equal to any other.
    """

    sigmas: Values
    grid: Values
    step: Values
    y: Values
    d: Values
    z: Values
    draws: Values
    intervals: Values
    r: Values | None = None
    scale: Values | None = None
    v: Values | None = None
    about: About = dataclasses.field(default=About(), metadata={"static": True})

    @property
    def nfe(self) -> int:
        """The number of evaluations of the denoiser. A shape, so known under jit."""
        return self.sigmas.shape[-1]

    @property
    def num_draws(self) -> int:
        """The number of draws of noise.

        Raises:
            TypeError: under jit, where it depends on a traced array.
        """
        # A plan without slots makes no draws; its shape says so, even under jit.
        if self.draws.size == 0:
            return 0
        if isinstance(self.draws, Tracer):
            raise TypeError(
                "`plan.num_draws` is data, and under jit data has no value: read it from the plan "
                "outside of jit, or pass it as a static argument."
            )
        return int(np.max(self.draws, initial=-1)) + 1

    def save(self, path: str | os.PathLike[str], **about: Any) -> None:
        """Writes the plan as JSON, each float by its `repr`: `Plan.load` gives the same bits.

        Args:
            path: the file, replaced where there is one.
            about: fields of `About`, in place of the plan's own: `fitted_on`, `validation_error`,
                `budget`, `sigma_range`.

        Raises:
            TypeError: if the plan is traced, or a field of `About` is unknown or of a wrong kind.
            ValueError: if the plan is a stack of plans or holds NaN, or a field of `About` cannot
                have the given value.
            OSError: if the file cannot be written.
        """
        about_all = dataclasses.asdict(self.about) | about
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del fields["about"]
        write_plan(path, fields, About.of(about_all))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Plan":
        """Returns the plan of a file that `save` wrote, in NumPy arrays.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is not a plan, is damaged, or was written by a later version.
        """
        arrays, about = read_plan(path)
        return cls(**arrays, about=about)

    def check_range(self, denoise: Denoiser) -> None:
        """Raises ValueError where `denoise` declares a `sigma_range` that the plan is not for.

        A fitted plan (`about.sigma_range`) fits its own range alone. Any other plan fits every
        range that contains its grid. A denoiser without an attribute `sigma_range` is accepted.
        """
        # Traced numbers have no value to compare.
        declared = getattr(denoise, "sigma_range", None)
        if declared is None or has_tracers((declared, self.grid)):
            return
        low, high = pair_of_levels(declared, "The denoiser's `sigma_range`")
        fitted = self.about.sigma_range
        if fitted is not None:
            if not np.allclose(fitted, (low, high), rtol=1e-6, atol=0):
                raise ValueError(
                    f"This plan was fitted for noise levels from {fitted[0]:g} to {fitted[1]:g}, "
                    f"and the denoiser declares `sigma_range` ({low:g}, {high:g}): fit a plan on "
                    "this denoiser."
                )
            return
        if beyond := levels_beyond(self, low, high):
            lowest, highest = beyond
            raise ValueError(
                f"This plan has noise levels from {lowest:g} to {highest:g}, and the denoiser "
                f"declares `sigma_range` ({low:g}, {high:g}): make the plan on a grid within that."
            )

    def __repr__(self) -> str:
        # JAX puts tracers, shardings and `None` into the fields of a pytree, and prints it in its
        # own errors: a repr that raises would hide them.
        leaves = jax.tree.leaves(self)
        arrays = all(isinstance(v, np.ndarray | jax.Array) for v in leaves) and len(leaves) > 7
        if arrays and not any(isinstance(v, Tracer) for v in leaves) and self.sigmas.ndim == 1:
            return _table(self)
        # Traced, stacked, or a tree of something else, such as shardings.
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del fields["about"]
        shown = (f"{k}={getattr(v, 'shape', v)}" for k, v in fields.items() if v is not None)
        return f"Plan({', '.join(shown)})"


def levels_beyond(plan: Plan, low: float, high: float) -> tuple[float, float] | None:
    """The grid's lowest level above 0 and its highest, or None if both lie in the range."""
    levels = np.asarray(plan.grid, float)
    lowest, highest = float(levels[levels > 0].min()), float(levels.max())
    return None if _within(lowest, highest, low, high) else (lowest, highest)


def check_levels(denoise: Denoiser, sigma_min: Scalar, sigma_max: Scalar) -> None:
    """Raises ValueError where levels lie outside of the `sigma_range` that `denoise` declares."""
    declared = getattr(denoise, "sigma_range", None)
    if declared is None or has_tracers((declared, sigma_min, sigma_max)):
        return
    low, high = pair_of_levels(declared, "The denoiser's `sigma_range`")
    if not _within(float(sigma_min), float(sigma_max), low, high):
        raise ValueError(
            f"The levels run from {float(sigma_min):g} to {float(sigma_max):g}, and the denoiser "
            f"declares `sigma_range` ({low:g}, {high:g}): choose levels within that."
        )


def _within(lowest: float, highest: float, low: float, high: float) -> bool:
    # With a tolerance for ranges that were kept in float32.
    return lowest >= low * (1 - 1e-6) and highest <= high * (1 + 1e-6)


def _table(plan: Plan) -> str:
    """The plan as text: a row an evaluation, with the weights that lead to its point."""
    # Column j of row k is for point and output number k - 1 - j.
    lines = [
        f"Plan: {len(plan.grid) - 1} steps, {plan.nfe} evaluations, {plan.num_draws} draws; "
        f"it keeps {plan.y.shape[1]} points and {plan.d.shape[1]} outputs",
        *plan.about.lines(),
        f"{'row':>5} {'sigma':>10}  point",
    ]
    shown = list(range(plan.nfe + 1))
    if len(shown) > 40:
        shown[20:-20] = [-1]
    for k in shown:
        if k < 0:
            lines.append("  ...")
            continue
        terms = [
            _term(plan.y[k, j], "x" if k == 0 else f"x{k - 1 - j}", j < k or k == 0)
            for j in range(plan.y.shape[1])
        ]
        terms += [_term(plan.d[k, j], f"D{k - 1 - j}", j < k) for j in range(plan.d.shape[1])]
        if plan.r is not None:
            terms += [_term(plan.r[k, j], f"R{k - 1 - j}", j < k) for j in range(plan.r.shape[1])]
        terms += [
            _term(plan.z[k, s], f"z{plan.draws[k, s]}", plan.draws[k, s] >= 0)
            for s in range(plan.z.shape[1])
        ]
        level = f"{float(plan.sigmas[k]):>10.5g}" if k < plan.nfe else f"{'end':>10}"
        lines.append(f"{k:>5} {level}  " + " ".join(term for term in terms if term))
    return "\n".join(lines)


def _term(weight: Any, name: str, there: Any) -> str:
    return f"{float(weight):+.6g} {name}" if there and weight != 0 else ""


serializable(
    Plan,
    write=lambda static: [dataclasses.asdict(about) for about in static],
    read=lambda written: tuple(About.of(about) for about in written),
)

if TYPE_CHECKING:
    PlanLike: TypeAlias = Plan
else:
    # Functions that take a plan raise their own message for anything else, so the run-time type
    # checker must not raise first.
    PlanLike = Any


def check_plan(plan: object, name: str = "plan") -> None:
    if not isinstance(plan, Plan):
        raise TypeError(
            f"`{name}` must be a Plan, as `ej.make_plan(sampler, sigmas)` returns it, got "
            f"{describe(plan)}."
        )
    if np.ndim(plan.sigmas) != 1:
        raise ValueError(
            f"`{name}` is a stack of plans, its `sigmas` of shape {np.shape(plan.sigmas)}: take "
            "one, `jax.tree.map(lambda leaf: leaf[0], plans)`, or map over them with `jax.vmap`."
        )
