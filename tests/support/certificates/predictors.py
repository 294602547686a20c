"""Of the predictors of Song et al."""

import functools

import numpy as np

from support import parity as p
from support.cases import golden
from support.certificates.table import add
from support.papers import predictors
from support.parity import paper

reverse = functools.partial(paper, predictors.reverse_diffusion)
ancestral = functools.partial(paper, predictors.ancestral)


def diffusers_fixed_large():
    """DDPM with the larger variance; it holds x / sqrt(1 + sigma^2) and starts from noise."""

    def cases():
        return [
            (case, case["sigmas"], np.sqrt(1 + case["sigmas"][0] ** 2), 1.0, p._in_order, case["x"])
            for case in golden("ddpm_large")["cases"]
        ]

    return p._golden("diffusers", cases)


add("reverse_diffusion()", "n", reverse(), name="reverse_diffusion", weak=1, shared=True)
add("reverse_diffusion(eta=0.6)", "n", reverse(lam=0.6), weak=1)
add("reverse_diffusion(eta=0.0)", "n", reverse(lam=0.0), order=1)
add('reverse_diffusion(final="method")', "n", reverse(final="mean"), weak=1)
add("reverse_diffusion(vp())", "n", reverse(True), weak=1)
add("reverse_diffusion(vp(), 0.6)", "n", reverse(True, 0.6), weak=1)
add("reverse_diffusion(vp(), 0.0)", "n", reverse(True, 0.0), order=1)
add(
    'reverse_diffusion(vp(), final="method")',
    "n",
    reverse(True, final="mean"),
    weak=1,
    zero="own",
)
add("ancestral_sampling()", "n", ancestral(), weak=1, equals=("ddpm",))
add('ancestral_sampling(final="method")', "n", ancestral(final="mean"), weak=1)
add("ancestral_sampling(vp())", "n", diffusers_fixed_large(), ancestral(True), weak=1)
add(
    'ancestral_sampling(vp(), final="method")',
    "n",
    ancestral(True, final="mean"),
    weak=1,
)
