"""Plans that travel: read, shown, written as a file that runs without edmjax; and published ones.

    plan = ej.Plan.load("plan.json")
    Path("sampler.py").write_text(ej.plans.convert(plan, to="torch"))
    plan = ej.plans.load("gits/cifar10/6")

docs/plan_format.md says what the tables of a plan mean, whatever runs them; docs/zoo.md lists the
plans that others published.
"""

from edmjax.plans.convert import FRAMEWORKS, convert
from edmjax.plans.zoo import Published, about, find, load, names

__all__ = ["FRAMEWORKS", "Published", "about", "convert", "find", "load", "names"]


def __dir__() -> list[str]:
    return __all__
