import pytest

from tests.evaluation.step_values.small_tasks import TASKS


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]
