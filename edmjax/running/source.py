"""Where the noise of a run comes from."""

from typing import Any

import jax


def check_noise(noise: Any, x: Any, num_draws: int | None) -> None:
    """Checks the injected draws; `num_draws` is None where the plan is traced."""
    if jax.tree.structure(noise) != jax.tree.structure(x):
        raise ValueError(
            f"`noise` must have the structure of `x`, {jax.tree.structure(x)}, got "
            f"{jax.tree.structure(noise)}."
        )
    for draws, leaf in zip(jax.tree.leaves(noise), jax.tree.leaves(x), strict=True):
        count = "num_draws" if num_draws is None else num_draws
        right = draws.ndim == leaf.ndim + 1 and draws.shape[1:] == leaf.shape
        if not right or (num_draws is not None and draws.shape[0] != num_draws):
            want = f"({', '.join(str(n) for n in (count, *leaf.shape))})"
            raise ValueError(
                f"`noise` must hold every draw of the plan, leaf shape (num_draws, *leaf.shape) = "
                f"{want}, got {tuple(draws.shape)}; `ej.draw_noise(plan, key, x)` makes it."
            )
