"""`quantized`: the level rounded to a table, as the package of SDXL's authors does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import sgm

import edmjax as ej

SDXL = ej.processes.ddpm("scaled_linear", 0.00085, 0.012)
CHURN = dict(s_churn=8.0, s_noise=1.003)


def net(x, t, cond):
    """A prediction of noise that depends on all of its arguments."""
    t = jnp.asarray(t).astype(x.dtype)
    return 0.6 * jnp.sin(x + cond["c"]) + 0.3 * jnp.cos(0.02 * t).reshape(-1, 1)


def test_sdxl_with_churn(x64):
    """Levels raised by churn are rounded, the first one to the end of the table."""
    draws = np.random.default_rng(0).standard_normal((21, 3, 2))
    cond, uncond = ({"c": c * np.ones((3, 1))} for c in (0.5, -0.2))
    on_host = sgm.discrete_denoiser(lambda *args: np.asarray(net(*args)), sgm.table())
    guided = sgm.vanilla_cfg(on_host, 7.0, cond, uncond)
    grid = sgm.legacy_grid(20, sgm.table())
    options = dict(s_tmin=0.3, s_tmax=999.0, **CHURN)
    wanted = sgm.euler_edm(guided, grid, draws[0], iter(draws[1:]), **options)

    denoise = ej.guidance.classifier_free(ej.denoisers.eps(net, SDXL), 7.0, uncond=uncond)
    sampler = ej.samplers.churn(ej.samplers.euler(), s_min=0.3, s_max=999.0, **CHURN)
    plan = ej.make_plan(sampler, SDXL.grid(20, "legacy").sigmas)
    np.testing.assert_allclose(plan.grid, grid, rtol=1e-12)
    start = np.sqrt(1 + plan.grid[0] ** 2) * draws[0]
    run = dict(noise=draws[1 : 1 + plan.num_draws], cond=cond)
    got = ej.sample(ej.denoisers.quantized(denoise, SDXL), plan, start, **run)
    np.testing.assert_allclose(got, wanted, rtol=1e-9)
    assert np.abs(ej.sample(denoise, plan, start, **run) - wanted).max() > 1e-5


def test_the_nearest_level(x64):
    seen = ej.denoisers.quantized(lambda x, sigma: jnp.reshape(sigma, (-1, 1)) + 0 * x, SDXL)
    table = np.asarray(SDXL.table)
    levels = jnp.array([1e-5, table[7], 0.49 * table[7] + 0.51 * table[8], 0.9, 50.0])
    got = np.asarray(jax.vmap(lambda sigma: seen(jnp.ones((1, 1)), sigma)[0, 0])(levels))
    nearest = table[[0, 7, 8, np.abs(table - 0.9).argmin(), 999]]
    np.testing.assert_array_equal(got, nearest)
    each = seen(jnp.ones((5, 1)), levels)  # one level a sample
    np.testing.assert_array_equal(each[:, 0], nearest)


def test_what_it_declares():
    inside = ej.denoisers.eps(lambda x, t: x, SDXL)
    assert inside.far and not ej.denoisers.quantized(inside, SDXL).far


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    with pytest.raises(TypeError, match=r"training timesteps, such as .*, got"):
        ej.denoisers.quantized(lambda x, sigma: x, ej.processes.vp())
    zero = ej.processes.ddpm("scaled_linear", rescale_zero_snr=True)
    with pytest.raises(ValueError, match="infinite, and no level is nearest"):
        ej.denoisers.quantized(lambda x, sigma: x, zero)
