"""The same dynamics as diffrax terms, and diffrax's solvers as samplers.

`ode_term` is the probability flow of a denoiser and `sde_terms` its reverse SDE, for diffrax to
solve; `from_diffrax` makes a sampler of one of its Runge-Kutta solvers, for `make_plan`;
`adaptive_sample` runs one with steps chosen by the error. They need the extra: `pip install
'edmjax[diffrax]'`.
"""

from edmjax.terms._forms import Form as Form, make_form as make_form
from edmjax.terms.adaptive import adaptive_sample as adaptive_sample
from edmjax.terms.ode import ode_term as ode_term
from edmjax.terms.sde import (
    brownian_path as brownian_path,
    sde_terms as sde_terms,
    sde_times as sde_times,
)
from edmjax.terms.tableaus import from_diffrax as from_diffrax
