import numpy as np
import pytest

from gnivo_edu import exact
from gnivo_edu.exact.minimum import fits_of, smallest_increase

VALUE = np.array([0.0, 1.0, 3.0])


def objective(value=VALUE, group_size=2):
    law = np.log([0.5, 0.3, 0.2])
    return exact.GroupObjective.from_logs(law, value, group_size=group_size, log_total=value)


def test_a_fit_that_is_the_value_is_handed_back():
    fits, why = fits_of(objective(), [np.zeros(3), np.ones(3)], VALUE)
    assert why is None
    assert [np.ptp(fit - VALUE) < 1e-7 for fit in fits] == [True, True]


def test_a_value_that_misses_the_equations_is_no_question_of_rounding(monkeypatch):
    wrong = VALUE + np.array([0.0, 1e-6, 0.0])
    fits, why = fits_of(objective(), [np.zeros(3)], wrong)
    assert why is None
    assert np.ptp(fits[0] - wrong) == pytest.approx(1e-6, rel=1e-3)

    def stuck(*_):
        raise RuntimeError("it stopped")

    monkeypatch.setattr(exact.GroupObjective, "fit", stuck)
    (stand_in,), why = fits_of(objective(), [np.zeros(3)], wrong)
    assert why is None
    assert np.ptp(stand_in - wrong) > 1e-7
    assert fits_of(objective(), [np.zeros(3)], VALUE) == ([], "it stopped")


def test_solutions_apart_are_not_decided_and_a_fit_that_is_none_is(monkeypatch):
    far = VALUE + np.array([0.0, 0.0, 5.0])
    monkeypatch.setattr(exact.GroupObjective, "fit", lambda *_: far)
    assert fits_of(objective(), [np.zeros(3)], VALUE)[1] is None  # far is no solution: it fails
    monkeypatch.setattr(exact.GroupObjective, "residual", lambda *_: np.full(3, 1e-12))
    fits, why = fits_of(objective(), [np.zeros(3)], VALUE)
    assert (fits, why) == ([], "and V_theta 5e+00 nats away meets the equations as well as V does")


def test_an_increase_below_rounding_is_none(monkeypatch):
    rng = np.random.default_rng(0)
    assert smallest_increase(objective(), VALUE, rng) > 0.1
    # The loss falls by a slope of 1e-13: rounding at values over 1e4 nats, and not over 3.
    falls = exact.GroupObjective
    monkeypatch.setattr(falls, "residual", lambda _, v: np.where(v > 0.5, 1e-13, 0.0) * (v - VALUE))
    assert smallest_increase(objective(), VALUE, rng) < 0
    monkeypatch.setattr(falls, "residual", lambda _, v: 1e-13 * (v - 1e4 * VALUE))
    assert smallest_increase(objective(1e4 * VALUE), 1e4 * VALUE, rng) == 0.0
