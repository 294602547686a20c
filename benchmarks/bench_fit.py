"""What `ej.training.fit` adds to a jitted loop of optax by hand: the time of a step of an MLP.

    python benchmarks/bench_fit.py

Both train the MLP of edmjax on the same data with the same loss, optimiser, average and batch size;
the loop by hand scans ten steps a call, as `fit` does, on batches that a permutation on the host
chooses. They take turns in one process, and the figures are ratios of process CPU time, with the
medians of the turns. The target is 1.05.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax, random

import edmjax as ej

STEPS, BATCH, SCAN = 2000, 128, 10


def by_hand(data: np.ndarray, key: jax.Array) -> None:
    """As a researcher writes it."""
    apply, params = ej.nn.functional(ej.nn.MLP((2,), rngs=nnx.Rngs(0)))
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(1e-3, b2=0.99))
    x = jnp.asarray((data - data.mean(0)) / data.std(0), jnp.float32)

    @jax.jit
    def steps(state, indices):
        def one(state, batch):
            params, ema, opt, step = state

            def objective(params):
                return ej.losses.edm(apply, params, x[batch], random.fold_in(key, step))

            loss, gradient = jax.value_and_grad(objective)(params)
            updates, opt = optimizer.update(gradient, opt, params)
            params = optax.apply_updates(params, updates)
            ema = jax.tree.map(lambda a, b: a + 0.001 * (b - a), ema, params)
            return (params, ema, opt, step + 1), loss

        return lax.scan(one, state, indices)

    rng, order = np.random.default_rng(0), np.zeros(0, int)
    state = params, params, optimizer.init(params), jnp.int32(0)
    for _ in range(STEPS // SCAN):
        while len(order) < SCAN * BATCH:
            order = np.concatenate([order, rng.permutation(len(data))])
        indices, order = order[: SCAN * BATCH].reshape(SCAN, BATCH), order[SCAN * BATCH :]
        state, losses = steps(state, jnp.asarray(indices))
        np.asarray(losses)


def by_fit(data: np.ndarray, key: jax.Array) -> None:
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(1e-3, b2=0.99))
    net = ej.nn.MLP((2,), rngs=nnx.Rngs(0))
    ej.training.fit(
        net, data, optimizer=optimizer, steps=STEPS, batch_size=BATCH, scan_steps=SCAN, key=key
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    data = np.random.default_rng(0).normal(size=(10_000, 2)).astype(np.float32)
    global STEPS
    seconds: dict[tuple[str, int], list[float]] = {}
    for turn in range(turns + 1):
        for name, run in (("by hand", by_hand), ("fit", by_fit)):
            for steps in (1000, 4000):  # the difference leaves compilation and start out
                STEPS = steps
                start = time.process_time()
                run(data, random.key(0))
                if turn:  # the first fills the cache of compilations
                    seconds.setdefault((name, steps), []).append(time.process_time() - start)
    each = {
        name: [(b - a) / 3 for a, b in zip(seconds[name, 1000], seconds[name, 4000], strict=True)]
        for name in ("by hand", "fit")
    }
    ratios = [b / a for a, b in zip(each["by hand"], each["fit"], strict=True)]
    for name, values in each.items():
        print(f"{name:8} {statistics.median(values):.3f} ms of CPU time a step")
    print(f"ratio    {statistics.median(ratios):.3f}  ({', '.join(f'{r:.3f}' for r in ratios)})")


if __name__ == "__main__":
    main()
