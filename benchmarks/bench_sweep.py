"""Measures `ej.sweep` over 50 plans against `ej.sample` plan by plan.

    python benchmarks/bench_sweep.py [--plans 50] [--rounds 5] [--batch 16]

The target: all of a sweep takes at most 1.15 times the sum of the run times of its plans, each run
by `sample` once that is compiled, plus the compilation of the sweep. The network is a ScoreNet, at
least 2 ms an evaluation. Times are process CPU time with one compute thread, which a busy machine
stretches far less than wall time; wall times are printed beside them.
"""

import argparse
import os
import statistics
import time

# One thread: with two, the time a thread waits for the other is counted too. Before jax loads.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
os.environ["NPROC"] = "1"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # a compilation is what is measured

import jax
import numpy as np
from flax import nnx
from tqdm import tqdm

import edmjax as ej

COMPILING = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


def make_plans(number):
    """Plans of 5 to 24 steps, deterministic and stochastic, with and without history."""
    s = ej.samplers
    makers = (
        s.euler, s.heun, s.dpmpp_2m, s.dpmpp_3m, s.lms, s.deis, s.unipc, s.ipndm, s.dpm_2, s.ddpm,
        lambda: s.churn(s.heun(), 20.0), s.dpmpp_sde, s.dpmpp_2m_sde,
    )  # fmt: skip
    steps = np.random.default_rng(0).integers(5, 25, number).tolist()
    return [
        ej.make_plan(makers[i % len(makers)](), ej.schedules.karras(n)) for i, n in enumerate(steps)
    ]


def clock(run):
    """What `run` returns, and its (CPU, wall) seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = jax.block_until_ready(run())
    return result, np.array([time.process_time() - cpu, time.perf_counter() - wall])


def main():
    parser = argparse.ArgumentParser(description="Measures 50 plans in one program.")
    parser.add_argument("--rounds", type=int, default=5, help="times each run is measured")
    parser.add_argument("--batch", type=int, default=16, help="images of 28 x 28 in a batch")
    parser.add_argument("--plans", type=int, default=50, help="plans in a sweep")
    arguments = parser.parse_args()
    plans, key = make_plans(arguments.plans), jax.random.key(1)
    nfe = sum(plan.nfe for plan in plans)
    denoise = ej.denoisers.edm(ej.nn.ScoreNet(rngs=nnx.Rngs(0)))
    x = jax.block_until_ready(
        80.0 * jax.random.normal(jax.random.key(0), (arguments.batch, 28, 28, 1))
    )

    compiling = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: compiling.append((event, duration_secs))
    )
    swept, cold = clock(lambda: ej.sweep(denoise, plans, x, key))
    seen = [(event, seconds) for event, seconds in compiling if event in COMPILING]
    programs = sum(event == COMPILING[-1] for event, _ in seen)
    in_compiler = sum(seconds for _, seconds in seen)

    print(
        f"jax {jax.__version__}, {jax.devices()[0].platform}; {len(plans)} plans, {nfe} evaluations"
    )
    worst = 0.0
    for plan, x0 in zip(tqdm(plans, desc="compiling each"), swept, strict=True):
        alone = ej.sample(denoise, plan, x, key)
        worst = max(worst, float(np.max(np.abs(np.asarray(alone) - np.asarray(x0)))))
    alone, together = [], []
    for _ in tqdm(range(arguments.rounds), desc="rounds"):
        together.append(clock(lambda: ej.sweep(denoise, plans, x, key))[1])
        one_by_one = [clock(lambda p=plan: ej.sample(denoise, p, x, key))[1] for plan in plans]
        alone.append(np.sum(one_by_one, axis=0))

    print(f"  the largest difference of a pixel {worst:.1e}; programs compiled {programs}")
    for i, name in enumerate(("CPU", "wall")):
        run = statistics.median(row[i] for row in alone)
        share = statistics.median(a[i] / b[i] for a, b in zip(together, alone, strict=True))
        warm = statistics.median(row[i] for row in together)
        print(
            f"  {name:4s} one by one {run:.2f} s ({1e3 * run / nfe:.2f} ms an evaluation); sweep "
            f"{warm:.2f} s, ratio {share:.3f}; cold {cold[i]:.2f} s, of which {in_compiler:.2f} s "
            f"of compiling: ratio {cold[i] / (run + in_compiler):.3f} (target 1.15)"
        )


if __name__ == "__main__":
    main()
