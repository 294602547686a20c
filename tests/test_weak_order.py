"""The weak order of every stochastic sampler, exactly on a Gaussian."""

import pytest
from laws import weak_order

from edmjax import samplers as s

# name -> (make, order, how much steeper it is between 320 and 640 steps on a linear flow).
WEAK = {
    "euler_maruyama": (s.euler_maruyama, 1, 0),
    "ddpm": (s.ddpm, 1, 0),
    "churn_euler": (lambda: s.churn(s.euler(), 8.0), 1, 0),
    "dpmpp_sde_independent": (lambda: s.dpmpp_sde(noise="independent"), 1, 0),
    "er_sde_1": (lambda: s.er_sde(1), 1, 0),
    "sa_solver_1_0": (lambda: s.sa_solver(1, 0), 1, 0),
    "churn_heun": (lambda: s.churn(s.heun(), 8.0), 2, 0),
    "ancestral_dpm_2": (lambda: s.ancestral(s.dpm_2()), 2, 0),
    "ancestral_dpmpp_2s": (lambda: s.ancestral(s.dpmpp_2s()), 2, 0),
    "dpmpp_sde": (s.dpmpp_sde, 2, 0),
    "dpmpp_2m_sde": (s.dpmpp_2m_sde, 2, 0),
    "dpmpp_2m_sde_heun": (lambda: s.dpmpp_2m_sde(solver_type="heun"), 2, 0),
    "dpmpp_3m_sde": (s.dpmpp_3m_sde, 2, 0),
    "dpmpp_3m_sde_corrected": (lambda: s.dpmpp_3m_sde(corrected=True), 2, 0),
    "seeds_2": (s.seeds_2, 2, 0),
    "seeds_2_phi_2": (lambda: s.seeds_2(solver_type="phi_2"), 2, 0),
    "seeds_3": (s.seeds_3, 2, 0),
    "er_sde_2": (lambda: s.er_sde(2), 2, 0),
    "er_sde_3": (s.er_sde, 2, 0),
    "sa_solver_2_2": (lambda: s.sa_solver(2, 2), 2, 0),
    "sa_solver": (s.sa_solver, 2, 0.1),
}


@pytest.mark.parametrize("name", WEAK)
def test_weak_order(name):
    make, order, steeper = WEAK[name]
    assert -0.15 < weak_order(lambda n: make()) - order < 0.15 + steeper
