"""A plan inside a pipeline of diffusers, by the scheduler of docs/plan_format.md."""

import re
import types

import jax
import numpy as np
import pytest
from support.pages import text_of

import edmjax as ej
from edmjax import samplers

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

PLANS = {
    "ipndm": (lambda: samplers.ipndm(3), "levels"),
    "of a process": (lambda: samplers.unipc(2), "process"),
    "with noise": (samplers.dpmpp_2m_sde, "levels"),
}


def scheduler_class():
    (block,) = re.findall(r"```py\n(import types.*?)\n\n\npipeline", text_of("plan_format"), re.S)
    names = {}
    exec(block, names)
    return names["PlanScheduler"]


def plan_of(name, process):
    make, kind = PLANS[name]
    levels = process.levels(np.append(np.linspace(980.0, 30.0, 6), 0.0))
    if kind == "levels":
        levels = np.append(np.asarray(levels.sigmas)[:-1], 0.0)
    return ej.make_plan(make(), levels)


@pytest.mark.slow
@pytest.mark.parametrize("predicts", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", PLANS)
def test_a_pipeline_gives_what_the_loop_gives(name, predicts):
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).double()  # fmt: skip
    pipe = diffusers.DDIMPipeline(net, diffusers.DDIMScheduler(clip_sample=False))
    pipe.set_progress_bar_config(disable=True)
    alphas = pipe.scheduler.alphas_cumprod.double().numpy()
    with jax.enable_x64(True):
        plan = plan_of(name, ej.processes.ddpm())
    module = types.ModuleType("sampler")
    exec(ej.plans.convert(plan, to="torch"), module.__dict__)
    pipe.scheduler = scheduler_class()(module, alphas, predicts)
    pipe.scheduler.set_timesteps(plan.nfe)
    options = dict(generator=torch.Generator().manual_seed(1), output_type="np", batch_size=2)
    images = pipe(num_inference_steps=plan.nfe, **options).images
    # The same draws, and the same network in our loop.
    generator = torch.Generator().manual_seed(1)
    drawn = [
        torch.randn((2, 1, 8, 8), generator=generator, dtype=torch.float64).numpy()
        for _ in range(1 + plan.num_draws)
    ]

    def by_torch(x, sigma):
        levels = np.log(np.sqrt(1 / alphas - 1))
        t = torch.tensor(np.interp(np.log(sigma), levels, np.arange(1000.0)))
        with torch.no_grad():
            return net(torch.from_numpy(np.array(x)), t).sample.numpy()

    def denoise(x, sigma):
        a = (1 + sigma**2) ** -0.5
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        out = jax.pure_callback(by_torch, shape, a * x, sigma)
        if predicts == "sample":
            return out
        return x - sigma * out if predicts == "epsilon" else a * a * x - sigma * a * out

    with jax.enable_x64(True):
        # The pipeline takes pure noise for a point of its first level, and so do we.
        start = drawn[0] * (1 if plan.scale is not None else np.sqrt(1 + plan.grid[0] ** 2))
        x0 = ej.sample(denoise, plan, start, noise=np.array(drawn[1:]) if drawn[1:] else None)
    expected = np.clip(np.asarray(x0) / 2 + 0.5, 0, 1).transpose(0, 2, 3, 1)
    # The network embeds the time in float32, so that its last bit may move the sample by 1e-8.
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-7)
