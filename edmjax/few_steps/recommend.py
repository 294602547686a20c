"""`recommend`: which sampler and grid to take for a number of evaluations."""

from edmjax._common.arguments import ordered, positive, refuse, whole
from edmjax._common.typing import Denoiser, Int, Levels, Number, PyTree
from edmjax.few_steps.formula import formula
from edmjax.few_steps.measured import measured
from edmjax.planning.step import Sampler
from edmjax.scalar import flag


def recommend(
    nfe: Int,
    *,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    sigma_data: Number | None = None,
    spread: Number | None = None,
    final_zero: bool = True,
    denoise: Denoiser | None = None,
    x: PyTree = None,
    cond: PyTree = None,
) -> tuple[Sampler, Levels]:
    """The `(sampler, sigmas)` to take for exactly `nfe` evaluations, without any fitting.

        sampler, sigmas = ej.recommend(10, sigma_data=0.5, spread=4.0)
        plan = ej.make_plan(sampler, sigmas)    # plan.nfe == 10

    There are three ways to call it, from the safest to the best:

    - With `sigma_data` alone the pair is one that does no harm on data of any spectrum, such as
      images, whose leading directions are many times as wide as a pixel.
    - With `spread` too, from a table that was chosen on problems with known solutions. It costs
      nothing.
    - With a network, `denoise`, and a few noises `x`, the network is run: a fine solution from each
      noise, then DPM++(2M), `ipndm(3)` and UniPC-3 on Karras' levels and up to ten other pairs; the
      one with the smallest mean error is returned, and the pair of the table unless another is 1.3
      times better. All of it takes at most 3,000 evaluations of one sample for `nfe` up to 20, and
      6,000 above, and two compilations. From 138 evaluations on the spread alone is measured.

    Samples of all these pairs shift with the mean of the data. To fit a grid or a plan to a
    network, which takes longer and gains more, see `ej.learning`.

    Args:
        nfe: the number of evaluations, at least 1.
        sigma_min: the last level above 0, in the units of the data.
        sigma_max: the first level, at which sampling starts.
        sigma_data: the standard deviation of the data about its mean, over all components; by
            default 0.5. With `denoise` it is measured, and must not be given.
        spread: the standard deviation of the data along its widest direction, which is the square
            root of the largest eigenvalue of the covariance; at least `sigma_data`. By default it
            is not known. With `denoise` it is measured, and must not be given.
        final_zero: whether the grid ends at 0, with a last evaluation at `sigma_min`; else at
            `sigma_min`, and the sample keeps that much noise.
        denoise: as for `sample`; the pair is then chosen for this function.
        x: noises at `sigma_max`, as `sample` takes them, with at least 8 samples on axis 0 of every
            leaf. Up to 60 are used, fewer for more evaluations: 30 suffice for 5, 18 for 10.
            Needed with `denoise`, and must not be given without.
        cond: as for `sample`, one entry for each sample in `x` or one for all.

    Raises:
        TypeError: if `nfe` is not an integer, a level is not a number, `denoise` is not a function
            of `(x, sigma)`, or `x` does not hold floating arrays or is traced.
        ValueError: if `nfe` is below 1, `sigma_min` is not below `sigma_max`, one of these or
            `sigma_data` is not positive and finite, `spread` is below `sigma_data`, an argument is
            given that the form of the call does not take, `x` has too few samples, or a standard
            deviation far from `sigma_max`, or no pair that was tried gives finite samples.
    """
    nfe = whole(nfe, "nfe")
    low, high = ordered(sigma_min, sigma_max)
    zero = flag(final_zero, "final_zero")
    if denoise is not None:
        who = "recommend(denoise=...)"
        refuse(who, "it is measured with the network", sigma_data=sigma_data, spread=spread)
        if x is None:
            raise ValueError(
                "`recommend(denoise=...)` needs `x`: a few noises at `sigma_max`, such as "
                "`80 * jax.random.normal(key, (32, *shape))`."
            )
        return measured(denoise, x, cond, nfe, low, high, zero)
    refuse("recommend", "only a network, `denoise`, is run from noises", x=x, cond=cond)
    width = positive(0.5 if sigma_data is None else sigma_data, "sigma_data")
    if spread is None:
        return formula(nfe, low, high, width, None, zero)
    widest = positive(spread, "spread")
    # What is estimated from samples may lie a little below where all directions are alike.
    if widest < 0.98 * width:
        raise ValueError(
            f"`spread` must be at least `sigma_data`, {width:g}, got {widest:g}: it is the square "
            "root of the covariance's largest eigenvalue, and `sigma_data` that of the mean one."
        )
    return formula(nfe, low, high, width, widest, zero)
