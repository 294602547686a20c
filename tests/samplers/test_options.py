"""Options of samplers: one that chooses is static, and says so; the others may be traced."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edmjax as ej
from edmjax import samplers as s

pytestmark = pytest.mark.usefixtures("unchecked")

GRID = ej.schedules.karras(4)
REQUIRED = {
    "churn": (s.heun(), 1.0),
    "ancestral": (s.euler(),),
    "flow_ancestral": (s.euler(),),
    "restart": (s.heun(), [(0.5, 2.0, 2, 1)]),
    "dpm_fast": (9,),
    "analytic_first_step": (s.f_ab(),),
    "teleport": (s.f_ab(),),
}
OPTIONS = [
    (name, option.name, option.default)
    for name, make in vars(s).items()
    if inspect.isfunction(make) and name != "from_name"
    for option in inspect.signature(make).parameters.values()
    if option.default is not option.empty and option.default is not None
]


@pytest.mark.parametrize("name, option, default", OPTIONS, ids=lambda value: str(value)[:20])
def test_an_option_is_traced_or_says_that_it_is_static(name, option, default):
    """A float may be traced, if it does not choose which steps are taken; nothing else may."""
    chooses = option in ("s_min", "s_max") or not isinstance(default, float)

    def weights(value):
        plan = ej.make_plan(getattr(s, name)(*REQUIRED.get(name, ()), **{option: value}), GRID)
        return jnp.sum(plan.y) + jnp.sum(plan.d) + jnp.sum(plan.z)

    if not chooses:
        assert jax.eval_shape(weights, jnp.float32(0.5)).shape == ()
        return
    with pytest.raises((TypeError, ValueError), match=f"`{option}` (decides|must)"):
        jax.eval_shape(weights, jnp.float32(1.0))


@pytest.mark.parametrize(
    "name, option",
    [(name, option) for name, option, default in OPTIONS if isinstance(default, bool)],
)
def test_a_flag_is_true_or_false(name, option):
    for value in ("no", 1, None):
        with pytest.raises(TypeError, match=f"`{option}` must be True or False, got {value!r}"):
            getattr(s, name)(**{option: value})


def test_churn_is_cut_where_its_docstring_says():
    """Above n (sqrt(2) - 1) nothing changes: the levels are raised by sqrt(2), and no further."""
    most = 4 * (np.sqrt(2) - 1)
    below, at, above = (
        ej.make_plan(s.churn(s.euler(), s_churn), GRID) for s_churn in (1.65, most + 1e-9, 40.0)
    )
    np.testing.assert_allclose(at.sigmas, np.sqrt(2) * GRID[:-1], rtol=1e-15)
    np.testing.assert_array_equal(above.sigmas, at.sigmas)
    assert (below.sigmas < at.sigmas).all()


@pytest.mark.parametrize("options", [{}, {"lower_order_final": True}, {"euler_at_final": True}])
@pytest.mark.parametrize("n", [3, 20])
def test_without_noise_the_last_orders_are_those_of_the_flow(n, options):
    """`eta=0` is DPM-Solver++ for the flow, on grids that end above zero."""
    grid = ej.schedules.karras(n, 0.05, 10.0, final_zero=False)
    pairs = [
        (s.dpmpp_2m_sde(eta=0.0, **options), s.dpmpp_2m(**options)),
        (s.dpmpp_2m_sde(eta=0.0, solver_type="heun", **options), s.dpmpp_2m("heun", **options)),
        (s.dpmpp_3m_sde(eta=0.0, **options), s.dpmpp_3m("heun", **options)),
    ]
    for ours, theirs in pairs:
        got, expected = (ej.make_plan(sampler, grid) for sampler in (ours, theirs))
        np.testing.assert_allclose(got.y, expected.y, rtol=1e-12)
        np.testing.assert_allclose(got.d, expected.d, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("ends_at_zero", [False, True])
def test_sa_solver_lowers_its_last_orders(ends_at_zero):
    """The last step above zero is the first-order step from the point; the one before it reads two
    outputs, whatever the orders are."""
    grid = ej.schedules.karras(9, 0.05, 10.0, final_zero=ends_at_zero)
    plan = ej.make_plan(s.sa_solver(3, 0, lower_order_final=True), grid)
    outputs = (plan.d != 0).sum(axis=1)
    steps = outputs[
        1 : -1 if ends_at_zero else None
    ]  # row k makes the point that step k - 1 ends at
    assert list(steps) == [1, 2, 3, 3, 3, 3, 2, 1]
    whole = ej.make_plan(s.sa_solver(3, 0), grid)
    np.testing.assert_array_equal(plan.d[:6], whole.d[:6])


def test_sa_solver_in_the_variant_half_is_the_form_of_its_authors():
    """Two outputs: H / 2 times the difference over its distance, in place of the integral."""
    grid = [3.0, 2.0, 1.5, 1.0]
    for eta in (0.0, 1.0):
        half = ej.make_plan(s.sa_solver(2, 0, eta=eta, variant="half"), grid)
        h, before = np.log(2.0 / 1.5), np.log(3.0 / 2.0)
        decay = (1 + eta**2) * h
        slope = decay / 2 * h / before
        np.testing.assert_allclose(half.d[2, :2], [1 - np.exp(-decay) + slope, -slope], rtol=1e-13)
        corrected = ej.make_plan(s.sa_solver(1, 2, eta=eta, variant="half"), grid)
        # The corrector of the first step, then a step of first order from the corrected point.
        first = (1 + eta**2) * before
        kept, gone = np.exp(-decay), 1 - np.exp(-decay)
        np.testing.assert_allclose(
            corrected.d[2, :2], [gone + kept * first / 2, -kept * first / 2], rtol=1e-12
        )
    with pytest.raises(ValueError, match="`variant` must be 'exact' or 'half'"):
        s.sa_solver(variant="bh1")
