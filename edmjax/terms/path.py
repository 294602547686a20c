"""The paths of `ej.brownian` in the form that diffrax takes."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from edmjax._common.arrays import working_dtype
from edmjax._common.typing import PyTree, Scalar


class Path(diffrax.AbstractBrownianPath[Any]):
    """Brownian motion over `|t|` for each sample of a batch, by increments; no Lévy area."""

    brownian: Any
    shape: Any = eqx.field(static=True)
    batched: bool = eqx.field(static=True)
    levy_area: Any = eqx.field(static=True)

    @staticmethod
    def of(brownian: Any, x: PyTree, batched: bool) -> "Path":
        """The path for a state like `x`, in at least float32."""
        area = diffrax.BrownianIncrement
        return Path(brownian=brownian, shape=wide_shapes(x), batched=batched, levy_area=area)

    @property
    def t0(self) -> Any:
        return -jnp.inf

    @property
    def t1(self) -> Any:
        return jnp.inf

    def evaluate(
        self, t0: Scalar, t1: Scalar | None = None, left: bool = True, use_levy: bool = False
    ) -> Any:
        """`W(|t1|) - W(|t0|)`; with `t0` alone `W(|t0|)`."""
        start, end = (jnp.zeros_like(t0), t0) if t1 is None else (t0, t1)
        moved = self.brownian.increment(
            self.shape, jnp.abs(start), jnp.abs(end), batched=self.batched
        )
        return diffrax.BrownianIncrement(dt=end - start, W=moved) if use_levy else moved


def wide_shapes(x: PyTree) -> Any:
    """The shapes of `x`, in at least float32."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, working_dtype(leaf.dtype)), x)
