"""Schedules: golden levels, exact end points, strict decrease, and sentences for bad arguments."""

import math
import re

import numpy as np
import pytest

from edmjax import schedules

ALL = [schedules.karras, schedules.exponential, schedules.polyexponential]

# k-diffusion 0.1.1.post1 in float64. Its end points are a rounding off; ours are exact.
GOLDEN = [
    (
        schedules.karras(5, 0.002, 80.0, 7),
        [80.0, 17.52783196464411, 2.515218976147159, 0.16975275626876413, 0.002, 0.0],
    ),
    (
        schedules.karras(5, 0.03, 14.61, 3),
        [14.61, 6.980667434231928, 2.6148781498529496, 0.6016497905474959, 0.03, 0.0],
    ),
    (
        schedules.karras(18),
        [
            80.0, 57.58598472124816, 40.78557379650796, 28.374584604156844, 19.35245298032523,
            12.91008238075732, 8.400935309099825, 5.315194521796382, 3.256821519765537,
            1.9233398370400518, 1.088170636545279, 0.5853481231945422, 0.29644228447915727,
            0.13951646873101678, 0.05994731123547159, 0.022934518372333384,
            0.0075280199627840785, 0.002, 0.0,
        ],
    ),
    (
        schedules.exponential(5),
        [80.0, 5.656854249492379, 0.4, 0.028284271247461905, 0.002, 0.0],
    ),
    (
        schedules.polyexponential(5, 0.002, 80.0, 1),
        [80.0, 5.656854249492376, 0.4, 0.028284271247461905, 0.002, 0.0],
    ),
    (
        schedules.polyexponential(5, 0.002, 80.0, 3),
        [80.0, 0.1747930073293957, 0.007521206186172791, 0.0023601368349426, 0.002, 0.0],
    ),
    (
        schedules.polyexponential(18, 0.002, 80.0, 3),
        [
            80.0, 13.734007856890516, 2.9002058853542527, 0.7436427298078312, 0.22855122198656852,
            0.08311247179890922, 0.035301407760228394, 0.017287841065967372,
            0.009635896882070437, 0.006034286244122006, 0.00419103983040772, 0.00318683458021149,
            0.0026188995520022382, 0.002296040184486761, 0.0021199283674676332,
            0.0020348091496122517, 0.0020043183678658282, 0.002, 0.0,
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize("sigmas, expected", GOLDEN)
def test_golden_levels(sigmas, expected):
    np.testing.assert_allclose(sigmas, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize("n", [1, 2, 3, 18, 1000])
@pytest.mark.parametrize("ends", [(0.002, 80.0), (0.03, 14.61), (1 / 3, 0.7), (1e-4, 1e4)])
def test_shape_dtype_end_points_and_decrease(schedule, n, ends):
    sigmas = schedule(n, *ends)
    assert isinstance(sigmas, np.ndarray) and sigmas.dtype == np.float64
    assert sigmas.shape == (n + 1,) and sigmas[-1] == 0.0
    assert sigmas[0] == ends[1]
    assert n == 1 or sigmas[-2] == ends[0]
    assert (np.diff(sigmas) < 0).all()
    np.testing.assert_array_equal(schedule(n, *ends, final_zero=False), sigmas[:-1])


@pytest.mark.parametrize("schedule", ALL)
def test_one_level_is_sigma_max(schedule):
    np.testing.assert_array_equal(schedule(1, 0.01, 5.0), [5.0, 0.0])
    np.testing.assert_array_equal(schedule(1, 0.01, 5.0, final_zero=False), [5.0])


def test_karras_is_linear_at_rho_1_and_exponential_without_bound():
    np.testing.assert_allclose(
        schedules.karras(9, 1.0, 9.0, rho=1, final_zero=False), np.arange(9.0, 0.0, -1), rtol=1e-14
    )
    # The next term of the expansion in 1 / rho is log(80 / 0.002)^2 / (8 rho) < 15 / rho.
    np.testing.assert_allclose(schedules.karras(9, rho=1e9), schedules.exponential(9), rtol=1.5e-8)
    assert np.isfinite(schedules.karras(9, rho=1e-3)).all()  # 80 ** 1000 overflows


def test_numpy_numbers_are_taken():
    sigmas = schedules.karras(np.int64(4), np.float64(0.1), np.float32(2.0), np.int32(7))
    np.testing.assert_array_equal(sigmas, schedules.karras(4, 0.1, 2.0, 7.0))


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize(
    "args, error, message",
    [
        ((0,), ValueError, "at least n = 1 positive level, got n = 0"),
        ((-3,), ValueError, "got n = -3"),
        ((2.5,), TypeError, "must be an integer, got 2.5"),
        ((18.0,), TypeError, "must be an integer, got 18.0"),
        ((math.nan,), TypeError, "must be an integer, got nan"),
        ((5, 0.0), ValueError, "sigma_min must be positive and finite, got 0.0"),
        ((5, -1.0), ValueError, "sigma_min must be positive and finite, got -1.0"),
        ((5, math.nan), ValueError, "sigma_min must be positive and finite, got nan"),
        ((5, 0.1, math.nan), ValueError, "sigma_max must be positive and finite, got nan"),
        ((5, 0.1, math.inf), ValueError, "sigma_max must be positive and finite, got inf"),
        ((5, 1.0, 1.0), ValueError, "sigma_min must be below sigma_max, got 1.0 and 1.0"),
        ((5, 80.0, 0.002), ValueError, "sigma_min must be below sigma_max, got 80.0 and 0.002"),
        ((100, 1.0, 1.0 + 1e-15), ValueError, "not all different in float64"),
    ],
)
def test_bad_levels_get_a_sentence(schedule, args, error, message):
    with pytest.raises(error, match=re.escape(message)):
        schedule(*args)


@pytest.mark.parametrize("schedule", [schedules.karras, schedules.polyexponential])
@pytest.mark.parametrize("rho", [0.0, -7.0, math.nan, math.inf])
def test_bad_rho_gets_a_sentence(schedule, rho):
    with pytest.raises(ValueError, match="rho must be positive and finite, got"):
        schedule(5, 0.1, 10.0, rho)
