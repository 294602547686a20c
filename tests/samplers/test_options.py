"""Options of samplers: one that chooses is static, and says so; the others may be traced."""

import inspect

import jax
import jax.numpy as jnp
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
