"""Which sampler and grid to take for a number of evaluations."""

from edmjax.few_steps.recommend import recommend

__all__ = ["recommend"]


def __dir__() -> list[str]:
    return __all__
