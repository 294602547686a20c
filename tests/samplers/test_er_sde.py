"""ER-SDE: equalities, gradients, sentences."""

import pytest
from support.laws import check_slopes, same_plan

import edmjax as ej
from edmjax import samplers as s


def test_equalities():
    grid = ej.schedules.karras(7)
    assert same_plan(ej.make_plan(s.er_sde(1, scaler="ode"), grid), ej.make_plan(s.euler(), grid))
    assert same_plan(ej.make_plan(s.er_sde(1, scaler="sde"), grid), ej.make_plan(s.ddpm(), grid))
    assert ej.make_plan(s.er_sde(scaler="ode"), [0.1, 0.3, 1.0, 2.0]).num_draws == 0
    assert ej.make_plan(s.er_sde(s_noise=0.0), grid).num_draws == 0
    with pytest.raises(ValueError, match="go up"):
        ej.make_plan(s.er_sde(), [0.1, 1.0])


@pytest.mark.slow
def test_gradients(x64):
    def plan(s_noise, *levels):
        return ej.make_plan(s.er_sde(3, s_noise), [*levels, 0.0], ends_at_zero=True)

    check_slopes(plan, [0.9, 5.0, 2.0, 0.8, 0.3])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: s.er_sde(4), "`order` must be from 1 to 3, got 4"),
        (lambda: s.er_sde(s_noise=-1), "`s_noise` must not be negative"),
        (lambda: s.er_sde(scaler="vp"), "`scaler` must be a function or one of"),
        (
            lambda: ej.make_plan(s.er_sde(scaler=lambda sigma: 1 / sigma), [2.0, 1.0]),
            "must not be larger at a lower level",
        ),
    ],
)
def test_bad_options_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
