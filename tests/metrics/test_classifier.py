"""The classifier two-sample test, against laws whose best classifier is known."""

import sys
import types

import jax
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB

import edmjax as ej

c2st, KEY = ej.metrics.c2st, jax.random.key(0)


def normals(seed, n, d, first=0.0):
    """`n` points of N(first e1, I)."""
    return np.random.default_rng(seed).normal(size=(n, d)) + first * np.eye(d)[0]


def test_between_equal_laws_it_is_one_half_with_an_honest_error_bar():
    repeats = 100
    found = [
        c2st(normals(2 * i, 100, 2), normals(2 * i + 1, 100, 2), KEY, judge="qda")
        for i in range(repeats)
    ]
    z = np.array([(value - 0.5) / error for value, error in found])
    assert abs(z.mean()) < 4 / np.sqrt(repeats)
    # Folds share what they are fitted to, so the accuracy varies a little more than by chance.
    assert 0.85 < z.std() < 1.5


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_a_shifted_gaussian_is_told_apart_as_often_as_it_can_be(shift):
    # The best classifier of N(0, I) and N(shift e1, I) cuts halfway: Phi(shift / 2) are right.
    n = 4000
    x, y = normals(0, n, 3), normals(1, n, 3, first=shift)
    value, error = c2st(x, y, KEY, judge="qda")
    assert abs(value - norm.cdf(shift / 2)) < 4 * error
    np.testing.assert_allclose(error, np.sqrt(value * (1 - value) / (2 * n)), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["mlp", "trees"])
def test_the_other_judges_come_near_to_the_best(judge):
    n, shift = 1500, 2.0
    x, y = normals(0, n, 2), normals(1, n, 2, first=shift)
    value, error = c2st(x, y, KEY, judge=judge)
    assert norm.cdf(shift / 2) - 0.04 < value < norm.cdf(shift / 2) + 4 * error


def test_a_covariance_is_seen_by_a_quadratic_discriminant():
    # N(0, 1) and N(0, 4): p > q where |x| < c.
    c = np.sqrt(2 * np.log(2) / (1 - 1 / 4))
    best = (2 * norm.cdf(c) - 1 + 2 * (1 - norm.cdf(c / 2))) / 2
    value, error = c2st(normals(0, 4000, 1), 2 * normals(1, 4000, 1), KEY, judge="qda")
    assert abs(value - best) < 4 * error


def test_neither_units_nor_the_order_of_the_sets_matter():
    x, y = normals(0, 300, 2), normals(1, 300, 2, first=0.7)
    base = c2st(x, y, KEY, judge="qda")
    scaled = c2st(1e3 * x - 5, 1e3 * y - 5, KEY, judge="qda")
    assert abs(base.value - scaled.value) < 0.005  # a rounding may move a point across the border
    assert abs(c2st(y, x, KEY, judge="qda").value - base.value) < 3 * base.standard_error
    shaped = c2st(x.reshape(300, 1, 2), y.reshape(300, 1, 2), KEY, judge="qda")
    assert shaped == base
    # a coordinate without variance is left as it is
    padded = [np.concatenate([v, np.full((300, 1), 7.0)], 1) for v in (x, y)]
    np.testing.assert_array_equal(
        c2st(*padded, KEY, judge=GaussianNB()), c2st(x, y, KEY, judge=GaussianNB())
    )


def test_a_judge_is_a_name_a_classifier_or_what_makes_one():
    x, y = normals(0, 300, 2), normals(1, 300, 2, first=0.7)
    named = c2st(x, y, KEY, judge="qda")
    given = QuadraticDiscriminantAnalysis()
    assert c2st(x, y, KEY, judge=given) == named
    assert not hasattr(given, "classes_")  # a copy was fitted
    assert c2st(x, y, KEY, judge=QuadraticDiscriminantAnalysis) == named
    assert c2st(x, y, KEY, judge=lambda: QuadraticDiscriminantAnalysis()) == named
    few = HistGradientBoostingClassifier(max_iter=3, max_leaf_nodes=3, random_state=0)
    assert 0.5 < c2st(x, y, KEY, judge=few, num_folds=2).value < 0.75
    assert c2st(x, y, KEY, judge="qda") == named  # the key decides the folds
    assert c2st(x, y, jax.random.key(1), judge="qda") != named


def test_mistakes_are_sentences(unchecked):
    x = normals(0, 16, 2)
    fits = types.SimpleNamespace(fit=print, predict=print)
    for error, phrase, call in (
        (ValueError, "one shape and size", lambda: c2st(x, x[:8], KEY)),
        (ValueError, "`y` holds samples that are not finite", lambda: c2st(x, x / 0, KEY)),
        (ValueError, "16 samples make no 17 folds", lambda: c2st(x, x, KEY, num_folds=17)),
        (ValueError, "`num_folds` must be at least 2", lambda: c2st(x, x, KEY, num_folds=1)),
        (
            ValueError,
            "`judge` must be 'mlp', 'trees' or 'qda'",
            lambda: c2st(x, x, KEY, judge="tree"),
        ),
        (
            TypeError,
            "a classifier of scikit-learn, or a func.*got int 3",
            lambda: c2st(x, x, KEY, judge=3),
        ),
        (TypeError, "no `get_params`.*pass a function", lambda: c2st(x, x, KEY, judge=fits)),
        (ValueError, "not a regressor", lambda: c2st(x, x, KEY, judge=LinearRegression())),
        (TypeError, "`key` must be a typed key", lambda: c2st(x, x, 0)),
        (TypeError, "cannot be traced", lambda: jax.jit(lambda x: c2st(x, x, KEY))(x)),
    ):
        with pytest.raises(error, match=phrase), np.errstate(divide="ignore"):
            call()


def test_without_scikit_learn_it_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    with pytest.raises(ImportError, match=r"judge 'mlp' needs 'sklearn.*edmjax\[train\]"):
        c2st(normals(0, 16, 2), normals(1, 16, 2), KEY)
