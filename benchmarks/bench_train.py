"""Measures the training step and the network's other uses against plain layers and torch.

    python benchmarks/bench_train.py [--rounds 5] [--batch-size 128]

The network is the score-SDE tutorial's, 28x28, the loss EDM's, the optimiser Adam. All cases run in
one process, in turn and in a new order each round, with one compute thread; a ratio is the median
of the ratios of the same round, of process CPU time, which a busy machine stretches far less than
wall time. torch runs eagerly, and is left out where it is not installed.
"""

import argparse
import os

# One thread: with two, the time a thread waits for the other is counted too. Before jax loads.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
os.environ["NPROC"] = os.environ["OMP_NUM_THREADS"] = "1"

import functools
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import optax
from bench_overhead import measure, ratio
from flax import nnx
from jax import lax, random
from plain_score_nets import in_torch, plain

from edmjax import losses, nn
from edmjax.training.data import Examples
from edmjax.training.ema import exponential
from edmjax.training.state import init_state, make_batch_loss, make_train_steps

NUM_STEPS = 4  # of the shipped step in one call
NUM_GRADIENTS = 8  # in one scan
LEARNING_RATE = 1e-4


def build(change=None):
    net = nn.ScoreNet(rngs=nnx.Rngs(0))
    return nn.functional(net if change is None else change(net))


def scale(images):
    return images.astype(jnp.float32) / 127.5 - 1


def shipped(batch_size, images):
    """`NUM_STEPS` steps in one compiled scan, as `train.py` takes them."""
    apply, params = build()
    optimizer = optax.adam(LEARNING_RATE)
    batch_loss = make_batch_loss(losses.edm_per_sample, scale)
    advance = make_train_steps(apply, batch_loss, optimizer, [exponential(0.999)])
    held = [init_state(apply, params, optimizer, random.key(0))]
    examples = Examples(jnp.asarray(images), jnp.zeros(len(images), jnp.int32))
    indices = jnp.arange(NUM_STEPS * batch_size).reshape(NUM_STEPS, batch_size)

    def run():
        held[0], values = advance(held[0], examples, indices)
        return values

    return run


def one_step(batch_size, images, change):
    """A step a call on float images from the host, as most people write it."""
    apply, params = build(change)
    optimizer = optax.adam(LEARNING_RATE)
    held = [params, optimizer.init(params), 0]

    @jax.jit
    def step(params, opt_state, x0, key):
        value, gradient = jax.value_and_grad(lambda p: losses.edm(apply, p, x0, key))(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    x0 = np.asarray(scale(images[:batch_size]))

    def run():
        held[0], held[1], value = step(held[0], held[1], x0, random.key(held[2]))
        held[2] += 1
        return value

    return run


def torch_step(batch_size, images, params, frequencies):
    import torch

    net = in_torch(params, frequencies)
    optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    x0 = torch.from_numpy(np.asarray(scale(images[:batch_size])).transpose(0, 3, 1, 2).copy())

    def run():
        sigma = (1.2 * torch.randn(batch_size) - 1.2).exp()
        s, noise = sigma[:, None, None, None], torch.randn_like(x0)
        total = (s**2 + 0.25).sqrt()
        output = net((x0 + s * noise) / total, sigma.log() / 4)
        target = (s * x0 - 0.25 * noise) / (0.5 * total)
        loss = (output - target).square().sum((1, 2, 3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return run


def bench_steps(rounds, batch_size, torch):
    images = np.random.default_rng(0).integers(
        0, 256, (NUM_STEPS * batch_size, 28, 28, 1), np.uint8
    )
    cases = {"shipped": shipped(batch_size, images), "plain": one_step(batch_size, images, plain)}
    if torch:
        apply, params = build()
        frequencies = apply.buffers["conditioning.fourier.frequencies"]
        cases["torch"] = torch_step(batch_size, images, params, frequencies)
    times = measure(cases, rounds, calls=1)
    times["shipped"] = [seconds / NUM_STEPS for seconds in times["shipped"]]
    print(f"a training step, batch {batch_size}; targets: 5 times plain, 1.5 x torch's time")
    for name, seconds in times.items():
        each = statistics.median(seconds)
        print(f"  {name:8s} {1e3 * each:7.0f} ms, {batch_size / each:5.0f} images/s a core")
    print(f"  plain / shipped {ratio(times, 'plain', 'shipped'):.1f}")
    if torch:
        print(f"  shipped / torch {ratio(times, 'shipped', 'torch'):.2f}")


def bench_evaluation(rounds, torch):
    """One call of the network; and that all of them are the same function."""
    x, c_noise = random.normal(random.key(0), (64, 28, 28, 1)), jnp.linspace(-0.5, 1.0, 64)
    cases, outputs = {}, {}
    for name, change in (("edmjax", None), ("plain", plain)):
        apply, params = build(change)
        run = jax.jit(apply)
        cases[name] = functools.partial(run, params, x, c_noise)
        outputs[name] = cases[name]()
    if torch:
        import torch

        apply, params = build()
        net = in_torch(params, apply.buffers["conditioning.fourier.frequencies"])
        images = torch.from_numpy(np.array(jnp.moveaxis(x, 3, 1)))
        levels = torch.from_numpy(np.array(c_noise))

        def run_torch():
            with torch.no_grad():
                return net(images, levels).numpy()

        cases["torch"], outputs["torch"] = run_torch, np.moveaxis(run_torch(), 1, 3)
    for name, output in outputs.items():
        np.testing.assert_allclose(output, outputs["edmjax"], atol=2e-5, err_msg=name)
    times = measure(cases, rounds, calls=4)
    print("one evaluation, batch 64; target: 0.9 x torch's time")
    for name, seconds in times.items():
        print(f"  {name:8s} {1e3 * statistics.median(seconds):7.1f} ms")
    if torch:
        print(f"  edmjax / torch {ratio(times, 'edmjax', 'torch'):.2f}")


def bench_gradient_in_a_loop(rounds):
    """`J^T v` of the network, as a likelihood asks for it, in a scan and in calls of its own."""
    apply, params = build()
    x = random.normal(random.key(0), (16, 28, 28, 1))

    def pull(params, x):
        out, back = jax.vjp(lambda x: apply(params, x, 0.3), x)
        return back(x + 1e-3 * out)[0]

    alone = jax.jit(pull)

    @jax.jit
    def in_scan(params, x):
        return lax.scan(lambda x, _: (pull(params, x), None), x, length=NUM_GRADIENTS)[0]

    cases = {
        "scan": functools.partial(in_scan, params, x),
        "alone": functools.partial(alone, params, x),
    }
    times = measure(cases, rounds, calls=1)
    times["scan"] = [seconds / NUM_GRADIENTS for seconds in times["scan"]]
    print("the network's gradient, batch 16; target: at most 1.2 times as long in a scan")
    each = 1e3 * statistics.median(times["scan"])
    print(f"  {each:.1f} ms; ratio {ratio(times, 'scan', 'alone'):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison")
    parser.add_argument("--batch-size", type=int, default=128, help="of the training step")
    arguments = parser.parse_args()
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        torch = None
    print(f"jax {jax.__version__}, torch {torch and torch.__version__}")
    bench_evaluation(arguments.rounds, torch is not None)
    bench_gradient_in_a_loop(arguments.rounds)
    bench_steps(arguments.rounds, arguments.batch_size, torch is not None)
