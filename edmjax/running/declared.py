"""What a corrector declares about itself: its draws, its evaluations, and where it runs.

A corrector is `(denoise, x, sigma, key) -> x`. As attributes it may declare `num_draws`, the draws
of one call, `num_evaluations`, its calls of the denoiser, and `on_result`, whether it runs on the
point that a step ends in instead of the one that a step starts from.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from edmjax._common.functions import check_function
from edmjax._common.typing import Corrector, Keys, NoiseFunction, PyTree, Scalar
from edmjax.noise.keys import fold
from edmjax.noise.own import own_draws
from edmjax.planning.table import Plan, PlanLike


class Declared(NamedTuple):
    """What a corrector declares. It is read before `jit`, which drops attributes of functions."""

    there: bool = False
    num_draws: int | None = None  # None: not declared; it gets the key of one draw
    num_evaluations: int = 0
    on_result: bool = False

    @staticmethod
    def read(corrector: Corrector | None) -> "Declared":
        if corrector is None:
            return Declared()
        check_function(corrector, "corrector", "denoise", "x", "sigma", "key")
        return Declared(
            True,
            getattr(corrector, "num_draws", None),
            int(getattr(corrector, "num_evaluations", 0)),
            bool(getattr(corrector, "on_result", False)),
        )

    @property
    def draws(self) -> int:
        """The ordinals that one call takes."""
        return 0 if not self.there else 1 if self.num_draws is None else self.num_draws

    def calls(self, plan: PlanLike) -> int:
        """How often a concrete plan calls the corrector."""
        if not self.there:
            return 0
        return plan.nfe - (self.on_result and float(plan.grid[-1]) == 0)

    def ordinals(self, plan: PlanLike) -> tuple[Any, Any]:
        """The ordinals of the plan's draws, (nfe + 1, slots), and the first of each call.

        Draws are numbered in order of use, the corrector's among them; -1 where there is none.
        """
        draws = jnp.asarray(plan.draws)
        if not self.there:
            return draws, None
        # How many draws the plan has made before each row: ordinals grow along the rows, and a row
        # without one repeats the count of the row before it.
        asked = lax.cummax(jnp.max(jnp.asarray(plan.draws), axis=1, initial=-1)) + 1
        row = jnp.searchsorted(asked, draws.ravel(), side="right").reshape(draws.shape)
        calls = jnp.arange(plan.nfe)
        shifted = draws + self.draws * (jnp.maximum(row - 1, 0) if self.on_result else row)
        shifted = jnp.where(draws < 0, draws, shifted)
        return shifted, (asked[1:] if self.on_result else asked[:-1]) + self.draws * calls

    def source(
        self,
        key: Keys | None,
        noise: PyTree,
        make: NoiseFunction | None,
        ordinal: Scalar,
        x: PyTree,
    ) -> Any:
        """What a call of the corrector draws from: draws, keys to make them with, or None."""
        if noise is not None:
            take = functools.partial(
                lax.dynamic_slice_in_dim, start_index=ordinal, slice_size=self.draws
            )
            return jax.tree.map(take, noise)
        if key is None:
            return None
        if make is not None:
            return own_draws(make, key, ordinal, self.draws, x)
        # A corrector that declares nothing gets one key a sample, as if it made a single draw.
        if self.num_draws is None:
            return fold(key, ordinal)
        return jax.vmap(functools.partial(fold, key))(ordinal + jnp.arange(self.num_draws))


def check_corrector_fits(plan: Plan) -> None:
    """Refuses a corrector where it would be paid at every row, or make a history stale.

    `Declared.read` checks the corrector itself.
    """
    # With windows of one entry each point is made of the one before it alone, so each evaluation
    # starts a step, also those that `restart` repeats inside a step of the grid.
    raws = 1 if plan.r is None else plan.r.shape[-1]
    if max(plan.y.shape[-1], plan.d.shape[-1], raws) > 1:
        if plan.nfe != plan.grid.shape[-1] - 1:
            raise ValueError(
                f"A corrector runs once a step, and this plan has inner evaluations ({plan.nfe} in "
                f"{plan.grid.shape[-1] - 1} steps), where it would be paid at each: use a sampler "
                "with one evaluation a step, such as `euler` or a `restart` of it."
            )
        raise ValueError(
            "A corrector moves the point, which makes the history of a multistep method stale: use "
            "a sampler without history, such as `euler` or `euler_maruyama`."
        )
    if not isinstance(plan.grid, Tracer) and plan.grid[-1] > plan.grid[0]:
        raise ValueError(
            "The levels of this plan go up (encoding), where a corrector makes no sense."
        )
