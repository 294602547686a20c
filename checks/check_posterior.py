"""Prints how near trained posteriors come to exact ones, on two simulators of sbibm.

    python checks/check_posterior.py                # all of it
    python checks/check_posterior.py --task moons --simulations 10000 --seeds 0

For each seed an MLP is trained with `ej.training.fit` on simulations of its own. Then, given data
that no training has seen, posterior draws are compared with exact ones: the accuracy of classifiers
(C2ST, 0.5 is best), and on two moons the deviation of the radius of the crescents (0.0100). Draws
outside the prior's square are counted and left out. On fresh pairs of parameters and data: central
coverage and the distance of the ranks from uniform, TARP, and the log-posterior at the truth beside
the exact one, on the first pairs, in nats. Time is CPU time of the process, all cores together.
"""

import argparse
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import edmjax as ej

TASKS = {"moons": ej.problems.TwoMoons(), "linear": ej.problems.GaussianLinear()}
JUDGES = {"moons": ("mlp", "trees"), "linear": ("qda",)}
LEVELS = (0.5, 0.8, 0.95)
LOWEST, HIGHEST = 0.002, 40.0
FRESH = jax.random.key(2026)  # observations and pairs are the same for all seeds


class Recipe(NamedTuple):
    """What was chosen on other observations and seeds than those that are reported."""

    width: int
    num_blocks: int
    steps: int
    learning_rate: float
    p_mean: float  # of log sigma, in units of the prior's deviation
    p_std: float
    weight_decay: float


RECIPES = {
    # Levels down to the thickness of the crescents, 0.017 of the prior's deviation.
    "moons": Recipe(256, 3, 6000, 1e-3, -2.0, 1.6, 0.0),
    # A posterior as wide as the prior needs no low levels. What is to be learned is linear: a large
    # network, or one without decay, learns the noise of 10,000 simulations too.
    "linear": Recipe(64, 1, 2000, 2e-3, -0.5, 1.2, 1.0),
}
BATCH_SIZE = 256


class Posterior:
    """A posterior that was trained on simulations."""

    def __init__(self, task: Any, n: int, seed: int, recipe: Recipe):
        keys = jax.random.split(jax.random.key(seed), 3)
        theta = task.prior(keys[0], n)
        data = ej.training.Dataset.of(theta, cond=task.simulate(keys[1], theta))
        size: dict[str, Any] = {"width": recipe.width, "num_blocks": recipe.num_blocks}
        net = ej.nn.MLP((task.dim,), cond_vector=task.dim, **size, rngs=nnx.Rngs(seed))
        rate = optax.warmup_cosine_decay_schedule(0, recipe.learning_rate, 200, recipe.steps)
        start = time.process_time()
        self.fit = ej.training.fit(
            net,
            data,
            loss=ej.training.LossConfig(p_mean=recipe.p_mean, p_std=recipe.p_std),
            optimizer=optax.adamw(rate, weight_decay=recipe.weight_decay),
            steps=recipe.steps,
            batch_size=min(BATCH_SIZE, n // 4),
            key=keys[2],
            held_out=0.1,
            keep="best",
            watch_every=250,
            scan_steps=50,
        )
        self.seconds = time.process_time() - start
        self.best_step = int(self.fit.state.best[1])
        # Not 18 steps of Heun's method, by which any Gaussian is 5 % too wide.
        chosen = ej.recommend(35, sigma_data=1.0, spread=1.0, sigma_min=LOWEST, sigma_max=HIGHEST)
        self.plan = ej.make_plan(*chosen)
        # What a unit of the network is in units of the parameters.
        ends = np.stack([np.zeros(task.dim), np.ones(task.dim)]).astype(np.float32)
        self.scale = np.diff(self.fit.to_data(ends), axis=0)[0]
        self.shift = self.fit.to_data(ends)[0]

    def sample(self, key: Any, x: Any, n: int) -> np.ndarray:
        """`n` draws for each row of `x`, (rows, n, d)."""
        cond = self.fit.condition(np.repeat(np.asarray(x), n, axis=0))
        start = self.plan.grid[0] * jax.random.normal(key, (len(x) * n, x.shape[-1]))
        drawn = ej.sample(self.fit.denoise, self.plan, start, cond=cond)
        return self.fit.to_data(drawn).reshape(len(x), n, -1)

    def log_prob(self, theta: Any, x: Any) -> np.ndarray:
        """The log-density in nats of parameters given data, row by row."""
        log_p = ej.likelihood.log_likelihood(
            self.fit.denoise,
            jnp.asarray((theta - self.shift) / self.scale, jnp.float32),
            sigma_min=LOWEST,
            sigma_max=HIGHEST,
            cond=self.fit.condition(np.asarray(x)),
            rtol=1e-3,
            atol=1e-3,
        )
        return np.asarray(log_p) - np.log(self.scale).sum()


def against_exact(task: Any, name: str, trained: Posterior, x: np.ndarray, n: int) -> list[str]:
    """C2ST and radii given each row of `x`, as cells of a table."""
    key = jax.random.fold_in(FRESH, 1)
    drawn = trained.sample(key, x, n)
    rows, outside, radii = {judge: [] for judge in JUDGES[name]}, [], []
    for one, draws in zip(x, drawn, strict=True):
        if name == "moons":
            inside = np.abs(draws).max(1) <= 1
            outside.append(1 - inside.mean())
            draws = draws[inside]
            u = np.stack([draws.sum(1), draws[:, 1] - draws[:, 0]]) / np.sqrt(2)
            radii.append(np.hypot(one[0] + np.abs(u[0]) - 0.25, one[1] - u[1]).std())
        exact = task.posterior(key, one, len(draws))
        for judge in rows:
            rows[judge].append(float(ej.metrics.c2st(exact, draws, key, judge=judge).value))
    cells = [f"{judge} {_list(values)}" for judge, values in rows.items()]
    if name == "moons":
        cells += [f"radius {_list(radii, 4)}", f"outside {_list(outside)}"]
    return cells


def of_pairs(task: Any, name: str, trained: Posterior, pairs: int) -> list[str]:
    """Coverage, ranks and log-posterior on fresh pairs, as cells of a table."""
    keys = jax.random.split(jax.random.fold_in(FRESH, 2), 5)
    theta = task.prior(keys[0], pairs)
    x = np.asarray(task.simulate(keys[1], theta))
    drawn = trained.sample(keys[2], x, 19)
    central = ej.metrics.central_coverage(drawn, theta, LEVELS).value
    worst = jnp.abs(central - jnp.asarray(LEVELS)[:, None]).max()
    ranks = ej.metrics.ranks(drawn, theta)
    # References that depend on the data, as TARP needs them.
    references = x[:, : task.dim] + 0.3 * jax.random.normal(keys[3], theta.shape)
    tarp = ej.metrics.tarp(drawn, theta, references, LEVELS).value
    few = slice(0, min(pairs, 200))
    ours, exact = trained.log_prob(theta[few], x[few]), task.log_posterior(theta[few], x[few])
    error = (ours - exact).std() / np.sqrt(len(exact))
    return [
        f"coverage at 50, 80, 95 % {_list(100 * central.mean(1), 1)}, farthest off "
        f"{100 * float(worst):.1f} points",
        f"TARP {_list(100 * tarp, 1)}",
        f"ranks {float(ranks.distance.max()):.3f} (chance {float(ranks.chance):.3f})",
        f"log-posterior {ours.mean():.2f}, exact {float(exact.mean()):.2f}, "
        f"difference {float((ours - exact).mean()):.3f} +- {float(error):.3f}",
    ]


def _list(values: Any, digits: int = 3) -> str:
    """The numbers, and their mean where there are several."""
    values = np.asarray(values)
    return " ".join(f"{v:.{digits}f}" for v in values)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--simulations", type=int, nargs="+", default=[10_000, 1000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--observations", type=int, default=5)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--pairs", type=int, default=2000)
    arguments = parser.parse_args()
    for name in arguments.task:
        task = TASKS[name]
        keys = jax.random.split(jax.random.fold_in(FRESH, 0))
        theta = task.prior(keys[0], arguments.observations)
        x = np.asarray(task.simulate(keys[1], theta))
        for n in arguments.simulations:
            for seed in arguments.seeds:
                trained = Posterior(task, n, seed, RECIPES[name])
                print(
                    f"{name}, {n} simulations, seed {seed}: {trained.seconds:.0f} s of training, "
                    f"best after {trained.best_step} steps",
                    flush=True,
                )
                for line in against_exact(task, name, trained, x, arguments.draws):
                    print(f"  {line}", flush=True)
                for line in of_pairs(task, name, trained, arguments.pairs):
                    print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
