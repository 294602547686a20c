"""Measures what a plan costs over the network's own evaluations, and over a scan written by hand.

    python benchmarks/bench_overhead.py [--rounds 30] [--quick]

All cases run in one process, in turn and in a new order each round; the figure of a case is its
median over rounds, and a ratio is the median of the ratios of the same round. Times are process CPU
time with one compute thread, which a busy machine stretches far less than wall time.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import time

# One thread: with two, the time a thread waits for the other is counted too. Before jax loads.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
os.environ["NPROC"] = "1"

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import edmjax as ej

SHAPE = (16, 28, 28)
STEPS = 200  # long enough that the dispatch of one call does not show


def trivial(x, sigma):
    return 0.9 * x


@jax.jit
def hand_euler(x, sigmas):
    def body(x, level):
        sigma, sigma_next = level
        r = sigma_next / sigma
        return r * x + (1 - r) * trivial(x, sigma), None

    return lax.scan(body, x, (sigmas[:-1], sigmas[1:]))[0]


@jax.jit
def hand_heun(x, sigmas):
    def slope(x, sigma):
        return (x - trivial(x, sigma)) / sigma

    def body(x, level):
        sigma, sigma_next = level
        h = sigma_next - sigma
        d = slope(x, sigma)
        return x + h / 2 * (d + slope(x + h * d, sigma_next)), None

    x = lax.scan(body, x, (sigmas[:-2], sigmas[1:-1]))[0]
    return x + (sigmas[-1] - sigmas[-2]) * slope(x, sigmas[-2])


@jax.jit
def hand_dpmpp_2m(x, sigmas):
    def body(carry, level):
        x, previous, h_prev = carry
        sigma, sigma_next = level
        denoised = trivial(x, sigma)
        h = jnp.log(sigma / sigma_next)
        extrapolated = denoised + h / (2 * h_prev) * (denoised - previous)
        r = sigma_next / sigma
        return (r * x + (1 - r) * extrapolated, denoised, h), None

    carry = (x, jnp.zeros_like(x), jnp.inf)
    x, _, _ = lax.scan(body, carry, (sigmas[:-2], sigmas[1:-1]))[0]
    return trivial(x, sigmas[-2])


def measure(cases, rounds, calls):
    """CPU seconds a call of each case in each round: {name: [seconds]}."""
    for run in cases.values():
        jax.block_until_ready(run())
    times = {name: [] for name in cases}
    for _ in range(rounds):
        for name in random.sample(list(cases), len(cases)):
            start = time.process_time()
            for _ in range(calls):
                jax.block_until_ready(cases[name]())
            times[name].append((time.process_time() - start) / calls)
    return times


def ratio(times, name, base, factor=1.0):
    return statistics.median(factor * a / b for a, b in zip(times[name], times[base], strict=True))


def bench_trivial(rounds):
    grid = ej.schedules.karras(STEPS)
    x = 80 * jax.random.normal(jax.random.key(0), SHAPE)
    sigmas = jnp.asarray(grid, jnp.float32)
    run = jax.jit(lambda plan, x: ej.sample(trivial, plan, x))
    hand = {"euler": hand_euler, "heun": hand_heun, "dpmpp_2m": hand_dpmpp_2m}
    plans = {name: ej.make_plan(getattr(ej.samplers, name)(), grid) for name in hand}
    cases = {}
    for name, plan in plans.items():
        device = jax.tree.map(jnp.asarray, plan)  # what a loop over calls would pass
        cases[name] = lambda plan=device: run(plan, x)
        cases[f"hand {name}"] = lambda f=hand[name]: f(x, sigmas)
        np.testing.assert_allclose(cases[name](), cases[f"hand {name}"](), rtol=1e-3, atol=1e-5)
    times = measure(cases, rounds, calls=10)
    print(f"network 0.9 x, batch {SHAPE}, {STEPS} steps; targets: 5 us, 2.0 / 2.5 / 2.5 times")
    for name, plan in plans.items():
        ours = 1e6 * statistics.median(times[name]) / plan.nfe
        by_hand = 1e6 * statistics.median(times[f"hand {name}"]) / plan.nfe
        share = ratio(times, name, f"hand {name}")
        print(
            f"  {name:9s} {ours:6.2f} us an evaluation, by hand {by_hand:6.2f}; ratio {share:.2f}"
        )


def bench_score_net(rounds):
    from flax import nnx

    net = ej.nn.ScoreNet(rngs=nnx.Rngs(0))
    denoise = ej.denoisers.edm(net)
    x = 80 * jax.random.normal(jax.random.key(0), (*SHAPE, 1))
    steps = 18

    @jax.jit
    def alone(denoise, x, sigmas):
        """The evaluations alone: each on the last one's answer, so that none can be left out."""
        return lax.scan(lambda x, sigma: (denoise(x, sigma), None), x, sigmas)[0]

    run = jax.jit(lambda denoise, plan, x: ej.sample(denoise, plan, x))
    print("ScoreNet, batch 16; target: at most 1.03 times the evaluations alone")
    for name in ("euler", "heun", "dpmpp_2m"):
        plan = ej.make_plan(getattr(ej.samplers, name)(), ej.schedules.karras(steps))
        sigmas = jnp.asarray(plan.sigmas, jnp.float32)
        cases = {
            "plan": lambda plan=plan: run(denoise, plan, x),
            "alone": lambda sigmas=sigmas: alone(denoise, x, sigmas),
        }
        times = measure(cases, rounds, calls=1)
        each = 1e3 * statistics.median(times["alone"]) / plan.nfe
        print(
            f"  {name:10s} ratio {ratio(times, 'plan', 'alone'):.3f} ({each:.2f} ms an evaluation)"
        )


def bench_compile():
    """CPU seconds to trace and compile at 10 and at 1,000 steps, in turn."""
    x = jnp.zeros((16, 64))
    weights = jax.random.normal(jax.random.key(0), (64, 64)) / 8

    def seconds(steps):
        plan = ej.make_plan(ej.samplers.heun(), ej.schedules.karras(steps))
        start = time.process_time()
        run = jax.jit(lambda plan, x: ej.sample(lambda x, sigma: jnp.tanh(x @ weights), plan, x))
        run.lower(plan, x).compile()
        return time.process_time() - start

    seconds(10)
    pairs = [(seconds(10), seconds(1000)) for _ in range(9)]
    few, many = (statistics.median(column) for column in zip(*pairs, strict=True))
    grows = statistics.median(b / a for a, b in pairs)
    print("compiling Heun; target: at most 1.1 times as long at 1,000 steps as at 10")
    print(f"  {few:.3f} s and {many:.3f} s; ratio {grows:.2f}")


def bench_import(rounds):
    """CPU seconds of `import edmjax` against `import jax`, in processes of their own, in turn."""

    def seconds(module):
        code = f"import time; import {module}; print(time.process_time())"
        return float(subprocess.check_output([sys.executable, "-c", code]))

    pairs = [(seconds("jax"), seconds("edmjax")) for _ in range(rounds)]
    share = statistics.median(ours / theirs for theirs, ours in pairs)
    print("import edmjax; target: at most 1.15 times import jax")
    print(f"  {statistics.median(ours for _, ours in pairs):.2f} s; ratio {share:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measures what a plan costs.")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each comparison")
    parser.add_argument("--quick", action="store_true", help="leave out the network")
    arguments = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}")
    bench_trivial(arguments.rounds)
    bench_compile()
    bench_import(max(arguments.rounds // 3, 5))
    if not arguments.quick:
        bench_score_net(max(arguments.rounds // 3, 5))
