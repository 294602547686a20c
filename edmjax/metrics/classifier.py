"""The classifier two-sample test: how often a classifier tells two sets of samples apart."""

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import describe, one_of, whole
from edmjax._common.arrays import has_no_value
from edmjax._common.extras import missing
from edmjax._common.typing import Arraylike, Int, Keys
from edmjax.metrics.sets import Estimate, two_sets
from edmjax.noise.keys import check_key, check_single_key

JUDGES = ("mlp", "trees", "qda")


class Classifier(Protocol):
    """A classifier as in scikit-learn: `fit(rows, labels)`, then `predict(rows)` gives labels."""

    def fit(self, X: np.ndarray, y: np.ndarray, /) -> object: ...

    def predict(self, X: np.ndarray, /) -> object: ...


if TYPE_CHECKING:
    Judge: TypeAlias = str | Classifier | Callable[[], Classifier]
else:
    Judge = Any  # a wrong one must reach its message


def c2st(
    x: Arraylike, y: Arraylike, key: Keys, *, judge: Judge = "mlp", num_folds: Int = 5
) -> Estimate:
    """Returns the accuracy of a classifier that tells two sets of samples apart (C2ST).

    1/2 where it cannot tell, 1 where it always can. The classifier is fitted to all folds but one
    of both sets, and its accuracy is that on the fold left out, in the mean over folds. No
    classifier has more than

        1/2 + 1/4 int |p_x(z) - p_y(z)| dz

    in expectation, and each has less, so take a judge that can see the difference that matters: a
    small perceptron is nearly blind to the thickness of a thin shell, trees see it, and "qda" sees
    means and covariances. The value says nothing of the side on which the samples err.

    Each coordinate is shifted and scaled to mean 0 and standard deviation 1 over both sets, so the
    value does not depend on the units, and which set is `x` changes it within its error alone.

    Args:
        x, y: the sets, equal shapes (n, ...). The axes after the first are one point.
        key: one typed key, for the folds and for the classifiers that are named.
        judge: "mlp", a perceptron with two hidden layers of 20; "trees", gradient-boosted trees;
            "qda", a quadratic discriminant; or a classifier as in scikit-learn, of which a copy is
            fitted to each fold; or a function without arguments that returns a new one.
        num_folds: the number of folds, in each of which both sets have equally many points.

    Returns:
        The accuracy, and its standard error `sqrt(value (1 - value) / 2n)`, that of as many
        independent trials. Another `n` changes the value itself: a judge learns more from more.

    Raises:
        TypeError: `key` is not one typed key, `judge` is no classifier, the sets are traced.
        ValueError: the sets differ in shape, hold a number that is not finite, or fewer points
            than folds; a name that is unknown; labels that are not those that were fitted to.
        ImportError: scikit-learn is missing, for a judge by its name.

    Source: Lopez-Paz and Oquab (2017, arXiv 1610.06545), equation 2. With "mlp" and "trees" at n =
    10,000 it is what benchmarks of inference report (Lueckmann et al. 2021, arXiv 2101.04653).
    """
    if has_no_value(x) or has_no_value(y):
        raise TypeError("`c2st` fits classifiers on the host, so it cannot be traced.")
    x, y = two_sets(x, y)
    check_key(key)
    check_single_key(key)
    folds = whole(num_folds, "num_folds", least=2)
    n = len(x)
    if n < folds:
        raise ValueError(
            f"{n} samples make no {folds} folds: pass more samples, or a smaller `num_folds`."
        )
    seed = int(jax.random.bits(key))
    make = _maker(judge, seed)
    rows = np.asarray(jnp.concatenate([x, y]), np.float64).reshape(2 * n, -1)
    spread = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)
    labels = np.repeat([0, 1], n)
    rng = np.random.default_rng(seed)
    # As many of both sets in each fold: otherwise the rarer one in the rest is the commoner one
    # here, and a judge that guesses has less than 1/2.
    parts = [np.array_split(start + rng.permutation(n), folds) for start in (0, n)]
    right = 0
    for held in map(np.concatenate, zip(*parts, strict=True)):
        rest = rng.permutation(np.setdiff1d(np.arange(2 * n), held))
        classifier = make()
        with warnings.catch_warnings():
            # The steps of a perceptron are a part of the judge, and scikit-learn warns of the last.
            warnings.filterwarnings("ignore", "Stochastic Optimizer: Maximum iterations")
            classifier.fit(rows[rest], labels[rest])
        right += int((_labels(classifier.predict(rows[held]), len(held)) == labels[held]).sum())
    value = right / (2 * n)
    error = math.sqrt(value * (1 - value) / (2 * n))
    return Estimate(jnp.asarray(value, jnp.float32), jnp.asarray(error, jnp.float32))


def _labels(given: Any, n: int) -> np.ndarray:
    found = np.asarray(given)
    if found.shape != (n,) or not np.isin(found, (0, 1)).all():
        raise ValueError(
            f"`judge` must predict one label of 0 or 1 for each of {n} points, got "
            f"{describe(found)}: pass a classifier, not a regressor."
        )
    return found


def _maker(judge: Judge, seed: int) -> Callable[[], Classifier]:
    """The function that makes a new classifier for each fold."""
    if isinstance(judge, str):
        name = one_of(judge, "judge", JUDGES)
        try:
            return _named(name, seed)
        except ModuleNotFoundError as err:
            raise missing(err, f"The judge {name!r}", "train") from err
    if not isinstance(judge, type) and hasattr(judge, "fit") and hasattr(judge, "predict"):
        if not hasattr(judge, "get_params"):
            raise TypeError(
                f"`judge` is {describe(judge)}, which has no `get_params` of scikit-learn, so that "
                "no new one can be made for each fold: pass a function that returns a new one."
            )
        from sklearn.base import clone  # whoever has a classifier of scikit-learn has this

        copied: Any = clone  # its stub knows lists of estimators too
        return lambda: copied(judge)
    if not callable(judge):
        raise TypeError(
            f"`judge` must be {', '.join(map(repr, JUDGES))}, a classifier of scikit-learn, or a "
            f"function that returns one, got {describe(judge)}."
        )
    return judge


def _named(name: str, seed: int) -> Callable[[], Classifier]:
    if name == "mlp":
        from sklearn.neural_network import MLPClassifier

        return lambda: MLPClassifier((20, 20), max_iter=1000, random_state=seed)
    if name == "trees":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return lambda: HistGradientBoostingClassifier(random_state=seed)
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

    return QuadraticDiscriminantAnalysis
