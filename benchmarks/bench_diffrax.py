"""Measures the scan against diffrax's Euler and Heun: the same steps of the same flow.

    python benchmarks/bench_diffrax.py [--rounds 30]

Both go over karras(18) without its 0, in the sigma form, around one network of 24 residual blocks.
First the samples are compared in float64; then, in float32, the time to trace and compile, and the
time to run. All cases run in one process, in turn and in a new order each round; a ratio is the
median of the ratios of the same round. Times are process CPU time with one compute thread, which a
busy machine stretches far less than wall time. diffrax runs as its documentation shows it, with
`StepTo` and the number of steps as `max_steps`; without its check for failure (`throw=False`), so
that the solvers alone are compared.
"""

import argparse
import os
import random
import statistics
import time

# One thread: with two, the time a thread waits for the other is counted too. Before jax loads.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
os.environ["NPROC"] = "1"

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import edmjax as ej

BLOCKS, WIDTH, BATCH, DIM = 24, 256, 64, 64
SIGMAS = ej.schedules.karras(18)[:-1]
SOLVERS = {
    "euler": (ej.samplers.euler, diffrax.Euler),
    "heun": (ej.samplers.heun, diffrax.Heun),
}


def network(key, dtype):
    """A residual network that knows the level: parameters, and the function of them."""
    keys = jax.random.split(key, 2 * BLOCKS + 2)

    def draw(key, rows, columns):
        return jax.random.normal(key, (rows, columns), dtype) / np.sqrt(rows)

    parameters = {
        "in": draw(keys[-1], DIM + 1, WIDTH),
        "out": 0.1 * draw(keys[-2], WIDTH, DIM),
        "up": [draw(key, WIDTH, WIDTH) for key in keys[:BLOCKS]],
        "down": [0.1 * draw(key, WIDTH, WIDTH) for key in keys[BLOCKS:-2]],
    }
    return jax.tree_util.Partial(_apply, parameters)


def _apply(parameters, x, c_noise):
    level = jnp.broadcast_to(c_noise, (*x.shape[:-1], 1)).astype(x.dtype)
    h = jnp.concatenate([x, level], axis=-1) @ parameters["in"]
    for up, down in zip(parameters["up"], parameters["down"], strict=True):
        h = h + jnp.tanh(h @ up) @ down
    return h @ parameters["out"]


def by_plan(name, x):
    plan = ej.make_plan(SOLVERS[name][0](), SIGMAS)
    return lambda denoise, x: ej.sample(denoise, plan, x)


def by_diffrax(name, x):
    solver = SOLVERS[name][1]()
    ts = ej.terms.make_form("sigma").times(SIGMAS, x)
    controller = diffrax.StepTo(ts)

    def run(denoise, x):
        term = ej.terms.ode_term(denoise, form="sigma")
        solution = diffrax.diffeqsolve(
            term,
            solver,
            ts[0],
            ts[-1],
            None,
            x,
            stepsize_controller=controller,
            max_steps=len(ts) - 1,
            throw=False,
        )
        return jax.tree.map(lambda leaf: leaf[0], solution.ys)

    return run


def compile_seconds(make, name, denoise, x):
    """CPU seconds to trace and compile, from nothing."""
    jax.clear_caches()
    run = make(name, x)
    start = time.process_time()
    compiled = jax.jit(run).lower(denoise, x).compile()
    return time.process_time() - start, compiled


def rounds_of(cases, rounds, measure):
    """{name: [seconds]}, the cases in turn and in a new order each round."""
    times = {case: [] for case in cases}
    for _ in range(rounds):
        for case in random.sample(list(cases), len(cases)):
            times[case].append(measure(case))
    return times


def ratio(times, name):
    pairs = zip(times[name, "plan"], times[name, "diffrax"], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def compare(denoise, x):
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (denoise, x))
        for name in SOLVERS:
            ours = jax.jit(by_plan(name, wide[1]))(*wide)
            theirs = jax.jit(by_diffrax(name, wide[1]))(*wide)
            gap = float(jnp.max(jnp.abs(ours - theirs)) / jnp.max(jnp.abs(theirs)))
            print(f"  {name:6s} float64, largest difference over largest |x|: {gap:.1e}")
            assert gap < 1e-10


def main(rounds):
    jax.config.update("jax_enable_compilation_cache", False)
    denoise = ej.denoisers.edm(network(jax.random.key(0), jnp.float32))
    x = 80 * jax.random.normal(jax.random.key(1), (BATCH, DIM))
    print(f"jax {jax.__version__}, diffrax {diffrax.__version__}, {jax.devices()[0].platform}")
    print(f"{BLOCKS} blocks of {WIDTH}, batch {BATCH}; karras(18) without its 0, form 'sigma'")
    compare(denoise, x)
    makers = {"plan": by_plan, "diffrax": by_diffrax}
    cases = [(name, who) for name in SOLVERS for who in makers]
    for name, who in cases:  # what is loaded on first use is loaded
        compile_seconds(makers[who], name, denoise, x)
    compiling = rounds_of(
        cases,
        max(rounds // 3, 5),
        lambda case: compile_seconds(makers[case[1]], case[0], denoise, x)[0],
    )
    runs = {case: compile_seconds(makers[case[1]], case[0], denoise, x)[1] for case in cases}

    def run_seconds(case):
        start = time.process_time()
        jax.block_until_ready(runs[case](denoise, x))
        return time.process_time() - start

    for case in cases:
        run_seconds(case)
    running = rounds_of(cases, rounds, run_seconds)
    for name in SOLVERS:
        for what, times, target in (("compile", compiling, 0.75), ("run", running, 1.05)):
            ours, theirs = (statistics.median(times[name, who]) for who in makers)
            print(
                f"  {name:6s} {what:8s} plan {ours:.4f} s, diffrax {theirs:.4f} s; "
                f"ratio {ratio(times, name):.3f} (target: at most {target})"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measures the scan against diffrax.")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each comparison")
    main(parser.parse_args().rounds)
