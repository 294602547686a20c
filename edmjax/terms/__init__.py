"""The same dynamics as diffrax terms, and diffrax's solvers as samplers.

`ode_term` is the probability flow of a denoiser and `sde_terms` its reverse SDE, for diffrax to
solve; `from_diffrax` makes a sampler of one of its Runge-Kutta solvers, for `make_plan`;
`adaptive_sample` runs one with steps chosen by the error. They need the extra: `pip install
'edmjax[diffrax]'`.
"""

from edmjax._common.extras import missing

try:
    from edmjax.terms.adaptive import adaptive_sample
    from edmjax.terms.forms import Form, make_form
    from edmjax.terms.ode import ode_term
    from edmjax.terms.sde import brownian_path, sde_terms, sde_times
    from edmjax.terms.tableaus import from_diffrax
except ModuleNotFoundError as _err:
    raise missing(_err, "edmjax.terms", "diffrax") from _err

__all__ = [
    "Form",
    "adaptive_sample",
    "brownian_path",
    "from_diffrax",
    "make_form",
    "ode_term",
    "sde_terms",
    "sde_times",
]


def __dir__() -> list[str]:
    return __all__
