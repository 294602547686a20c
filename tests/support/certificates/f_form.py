"""Of methods on the network's own output."""

import functools

from support import parity as p
from support.certificates.table import add
from support.orders import STEPS
from support.papers import f_form
from support.parity import paper

runge_kutta = functools.partial(paper, f_form.f_rk)
# The start is of low order; with a higher one that shows on finer grids.
LATE = {3: 3, 4: 4}

for order in (1, 2, 3, 4):
    # Order 4 in theta has weights so large on the check's 10 steps that float32 suffers.
    variable = "theta" if order < 4 else "sigma^(1/7)"
    code = f"f_ab({order})" if order < 4 else f"f_ab({order}, {variable!r})"
    add(
        "f_ab()" if order == 2 else code,
        "n",
        paper(f_form.f_ab, order, variable),
        order=min(order, 2),
        formal=(order, order - 1),
        highest=LATE.get(order),
        **({"name": "f_ab", "shared": True} if order == 2 else {}),
    )
    add(
        "f_pc()" if order == 2 else f"f_pc({order})",
        "n",
        paper(f_form.f_pc, order),
        order=min(order + 1, 3),
        formal=(order + 1, order),
        highest=None if order < 3 else order + 1,
        **({"name": "f_pc", "shared": True} if order == 2 else {}),
    )
add(
    "f_ab(3, 'log_sigma', sigma_data=0.9)",
    "n",
    paper(f_form.f_ab, 3, "log_sigma", 0.9),
    order=2,
    formal=(3, 2),
    highest=3,
)
add(
    "f_pc(2, 'theta', sigma_data=0.9)",
    "n",
    paper(f_form.f_pc, 2, "theta", 0.9),
    order=3,
    formal=(3, 2),
)
add("f_trig()", "n", paper(f_form.f_trig), order=3, name="f_trig", shared=True)
add("f_trig(False)", "n", paper(f_form.f_trig, False), order=2)
add("f_trig(above=1.5)", "n", paper(f_form.f_trig, True, 0.5, 1.5), order=2)
add("f_trig(sigma_data=0.9)", "n", paper(f_form.f_trig, True, 0.9), order=3)
for order, nfe in ((2, "2n - 1"), (3, "3n - 2"), (4, "4n - 3")):
    add(
        "f_rk()" if order == 2 else f"f_rk({order})",
        nfe,
        runge_kutta(order),
        order=order,
        **({"name": "f_rk", "shared": True} if order == 2 else {}),
    )
add("f_rk(3, 'log_sigma', sigma_data=0.9)", "3n - 2", runge_kutta(3, "log_sigma", 0.9), order=3)


@functools.cache
def two_steps():
    """`teleport` needs a step after the first."""
    return [grid for grid in p.grids() if len(grid) > 2]


add(
    "analytic_first_step(f_pc())",
    "n - 1",
    paper(f_form.analytic_first_step),
    order=1,
    steps=(640, *STEPS),  # where steps alternate, the order shows on fine grids alone
)
add("teleport(f_pc())", "n - 1", paper(f_form.teleport, on=two_steps), order=1)
