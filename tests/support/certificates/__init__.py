"""The certificates: of every sampler, what it claims, and what the claims are checked against.

`CERTIFICATES` is the one table, name -> `Certificate`, a family a file. Tests that run over all
samplers take them from here (the entries with `shared`, by way of `helpers`), `checks/certify.py`
checks every claim, and `docs/certificates.md` prints them. A sampler without one does not ship.
"""

from support.certificates import (  # noqa: F401  they fill the table
    dpm,
    f_form,
    flows,
    multistep,
    noise,
    one_step,
    predictors,
    sde,
)
from support.certificates.table import CERTIFICATES, Certificate, build

__all__ = ["CERTIFICATES", "Certificate", "build"]
