"""Denoisers: from a network, or from any way to say the same thing, to `denoise(x, sigma)`.

The frame is variance exploding: `x = x0 + sigma * n` with `n` standard normal, and `denoise(x,
sigma)` estimates `E[x0 | x]`. Networks reach it by the preconditioning that they were trained with
(`edm`, `song`, `vp`, `ve`, `iddpm`, `flow`, `consistency`), or by what they predict in the scale
and time of a process (`eps`, `v`, `x0`, all of them `prediction`); functions of `(x, sigma)` by
conversion (`from_score`, `from_eps`, `from_v`, `from_x0`; the other way `to_score`, `to_eps`,
`to_v`). Everything here is called as `denoise(x, sigma)` or `denoise(x, sigma, cond)`, and is a
pytree whose leaves are the network's arrays and its own numbers, so that it travels through `jit`
as an argument.

`x` is any pytree of floating arrays; `sigma` is a scalar or has one level for each entry of axis 0,
and is broadcast from the left. What comes back has the structure, shapes and dtypes of `x`; in
between, coefficients and sums are float32 at least (float64 for float64 `sigma` or `x`).
"""

from edmjax.denoisers._network import (
    Preconditioned as Preconditioned,
)
from edmjax.denoisers.conversions import (
    Converted as Converted,
    denoised_from_eps as denoised_from_eps,
    denoised_from_score as denoised_from_score,
    denoised_from_v as denoised_from_v,
    eps_from_denoised as eps_from_denoised,
    from_eps as from_eps,
    from_score as from_score,
    from_v as from_v,
    from_x0 as from_x0,
    score_from_denoised as score_from_denoised,
    to_eps as to_eps,
    to_score as to_score,
    to_v as to_v,
    v_from_denoised as v_from_denoised,
)
from edmjax.denoisers.preconditionings import (
    EDM as EDM,
    IDDPM as IDDPM,
    VE as VE,
    VP as VP,
    Consistency as Consistency,
    Flow as Flow,
    Song as Song,
    consistency as consistency,
    edm as edm,
    flow as flow,
    iddpm as iddpm,
    song as song,
    ve as ve,
    vp as vp,
)
from edmjax.denoisers.predictions import (
    Prediction as Prediction,
    eps as eps,
    prediction as prediction,
    v as v,
    x0 as x0,
)
