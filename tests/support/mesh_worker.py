"""One process of a run on a mesh: what test_mesh_training.py starts, and what it compares.

    python mesh_worker.py RESULT OUT [--mesh TEXT] [--join PORT N I] [--in_memory no]

Trains the tiny network of the tests in OUT, draws samples and noise with it, and writes them all to
the file RESULT (process 0).
"""

import argparse
import dataclasses

import jax
import numpy as np
from jax import random
from jax.sharding import NamedSharding, PartitionSpec

import edmjax as ej
from edmjax import training
from edmjax._common.mesh import to_host
from edmjax.training import devices
from edmjax.training.outputs import read_losses


def tiny(out, steps=8):
    return training.Config(
        out=str(out),
        net=training.NetConfig(channels=[4], embed_dim=8),
        optim=training.OptimConfig(steps=steps, batch_size=16, ema_decay=0.9),
        sample=training.SampleConfig(num_samples=11, sampler="ddpm", num_steps=4, chunk_size=8),
        checkpoint_every=4,
        scan_steps=2,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("result")
    parser.add_argument("out")
    parser.add_argument("--mesh")
    parser.add_argument("--join", type=int, nargs=3)
    parser.add_argument("--in_memory")
    args = parser.parse_args()
    if args.join:
        port, num_processes, process_id = args.join
        devices.initialize(f"127.0.0.1:{port}", num_processes, process_id)
    mesh = training.make_mesh(args.mesh) if args.mesh else None
    config = dataclasses.replace(tiny(args.out), data_in_memory=args.in_memory)
    dataset = training.load_dataset("digits")
    net, params = training.train(config, dataset, mesh=mesh, progress=False)
    denoise = training.build_denoiser(config.loss, net.bind(params))
    samples = training.generate(
        denoise, config.sample, dataset.image_shape, mesh=mesh, progress=False
    )

    def draw():
        return random.normal(random.key(3), (16, 8, 8, 1))

    def draw_rows():
        keys = ej.sample_keys(random.key(4), 16)
        return jax.vmap(lambda key: random.normal(key, (8, 8, 1)))(keys)

    split = None if mesh is None else NamedSharding(mesh, PartitionSpec("data"))
    noise = [to_host(jax.jit(f, out_shardings=split)()) for f in (draw, draw_rows)]
    if devices.is_first():
        np.savez(
            args.result,
            losses=np.array(read_losses(f"{args.out}/loss.csv")),
            samples=samples,
            noise=np.stack(noise),
            devices=jax.device_count(),
        )


if __name__ == "__main__":
    main()
