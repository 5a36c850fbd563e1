import numpy as np
import pytest

from gnivo_edu.course.exercises import CheckFailed


def refusal(exercise, function, seed=0):
    """What the check of an exercise says against an answer."""
    with pytest.raises(CheckFailed) as caught, np.errstate(all="ignore"):
        exercise.run(function, seed)
    return str(caught.value)
