"""Plans that travel: read, shown, and written as a file that runs without edmjax.

    plan = ej.Plan.load("plan.json")
    Path("sampler.py").write_text(ej.plans.convert(plan, to="torch"))

docs/plan_format.md says what the tables of a plan mean, whatever runs them.
"""

from edmjax.plans.convert import FRAMEWORKS, convert

__all__ = ["FRAMEWORKS", "convert"]


def __dir__() -> list[str]:
    return __all__
