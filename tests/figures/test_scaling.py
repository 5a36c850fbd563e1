"""Fitted slopes are those of least squares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnivo_edu import figures
from gnivo_edu.figures.style import number


@given(st.floats(-3, 3), st.floats(-2, 2))
def test_the_slope_of_a_power_law_is_recovered(slope, intercept):
    x = np.array([1, 3, 10, 50])
    fit = figures.scaling_plot(x, {"y": np.exp(intercept) * x**slope}, {}, "n", "y", "c").fit("y")
    assert fit == pytest.approx((slope, intercept, 0), abs=1e-9)


def test_the_fitted_slope_and_its_error_are_those_of_least_squares(words):
    x, noise = np.array([1.0, 2, 4, 8, 16]), np.array([0.1, -0.1, 0.05, 0.1, -0.15])
    y = np.exp(noise) * x**-0.5
    shown = figures.scaling_plot(x, {"error": y}, {"error": -0.5}, "samples", "nats", "c")
    line, covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    fit = shown.fit("error")
    assert (fit.slope, fit.error) == pytest.approx((line[0], covariance[0, 0] ** 0.5))
    printed = f"{line[0]:+.2f} ± {number(fit.error, 1)}".replace("-", "−")
    label = next(word for word in words(shown.figure()) if word.startswith("error\n"))
    assert label == f"error\nfitted slope {printed}\npredicted −0.50 (dashed)"
    assert printed in shown.text()
    assert printed in shown.html()
    guide = next(drawn for drawn in shown.figure().axes[0].lines if drawn.get_alpha()).get_xydata()
    assert np.diff(np.log(guide[:, 1])) == pytest.approx(-0.5 * np.diff(np.log(guide[:, 0])))
    for bad in ([1.0, 0, 1, 1, 1], [1.0, 2]):
        with pytest.raises(ValueError, match="positive values"):
            figures.scaling_plot(x, {"y": bad}, {}, "n", "y", "c")
    with pytest.raises(ValueError, match="no series"):
        figures.scaling_plot(x, {"y": y}, {"z": 1}, "n", "y", "c")
