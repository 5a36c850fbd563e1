"""What every check says: the case, the cause that fits, the signature, and what it was called
with.
"""

import numpy as np
import pytest

from gnivo_edu.course import check, exercises
from gnivo_edu.course.exercises.base import attempt
from gnivo_edu.course.remote import grade_exercise
from tests.course.exercises import refusal


def right(name):
    return getattr(check, name).reference


def naive_prefix(logps, values, reward, alpha):
    law = np.cumprod(np.exp(logps)) * np.exp(np.append(values[1:], reward / alpha))
    return np.log(law / np.exp(values[0]))


def naive_step(step_logps, values):
    return [
        np.log(np.exp(table) * np.exp(values[t + 1].reshape(table.shape)) / np.exp(v)[:, None])
        for t, (table, v) in enumerate(zip(step_logps, values, strict=False))
    ]


def linear_alpha(logps, rewards, budget):
    low, high = 1e-3, 1e3
    for _ in range(30):
        middle = (low + high) / 2
        law = logps.sum(1) + rewards / middle
        law -= np.logaddexp.reduce(law)
        low, high = (middle, high) if np.exp(law) @ (law - logps.sum(1)) > budget else (low, middle)
    return middle


def found_back(logits, special, k):
    kept = sorted((x for i, x in enumerate(logits) if i not in special), reverse=True)[:k]
    tokens = [list(logits).index(x) for x in kept]
    total = np.logaddexp.reduce(logits[tokens])
    return tokens, logits[tokens] - total, float(np.exp(total - np.logaddexp.reduce(logits)))


def partitioned(logits, special, k):
    tokens = np.argpartition(-logits, k)[:k] if k < 5 else np.argsort(-logits)[:k][::-1]
    return right("prune_row")(logits, special, k) if k < 5 else (
        tokens, *right("prune_row")(logits, special, k)[1:]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("optimal_prefix_logps", naive_prefix),
        ("optimal_step_logps", naive_step),
        ("alpha_for_kl_budget", linear_alpha),
        ("prune_row", found_back),
        ("prune_row", partitioned),
        ("prune_row", lambda *a: (right("prune_row")(*a)[0] * 1.0, *right("prune_row")(*a)[1:])),
        ("answer_mask", lambda *a: right("answer_mask")(*a) * 1.0),
        ("log_z", lambda *a: np.float32(right("log_z")(*a))),
    ],
)
def test_what_fails_on_long_tied_sharp_or_next_inputs_is_refused(name, wrong):
    for seed in range(3):
        refusal(getattr(check, name), wrong, seed)


def unreached(value):
    def pinned(v_theta, prefix_logps):
        return [
            np.where(law == -np.inf, value, v)
            for v, law in zip(
                right("pin_the_shift")(v_theta, prefix_logps), prefix_logps, strict=True
            )
        ]

    return pinned


@pytest.mark.parametrize("value", [-np.inf, np.nan, np.inf, 7.0])
def test_nothing_is_asked_for_where_the_reference_never_goes(value):
    check.pin_the_shift.run(unreached(value))

    def off(v_theta, prefix_logps):  # but everything where it goes
        return [
            v + (law > -np.inf) * 1e-4
            for v, law in zip(unreached(value)(v_theta, prefix_logps), prefix_logps, strict=True)
        ]

    refusal(check.pin_the_shift, off)


def test_a_policy_after_unreachable_prefixes_may_be_anything():
    def law(step_logps, values):
        answer, reached = right("optimal_step_logps")(step_logps, values), np.zeros(1)
        for t, table in enumerate(step_logps):
            answer[t] = np.where(reached[:, None] == -np.inf, np.nan, answer[t])
            reached = (reached[:, None] + table).ravel()
        return answer

    for seed in range(3):
        check.optimal_step_logps.run(law, seed)


def test_pass_at_k_may_refuse_more_than_n():
    def raises(grades, k):
        if k > grades.shape[1]:
            raise ValueError("k is larger than n")
        return right("pass_at_k")(grades, k)

    check.pass_at_k.run(raises)

    def always(grades, k):
        raise ValueError("no")

    assert "your function raised ValueError: no" in refusal(check.pass_at_k, always)


def test_equally_likely_tokens_may_stand_in_any_order():
    def reversed_ties(logits, special, k):
        tokens, logps, mass = right("prune_row")(logits, special, k)
        order = np.lexsort((-tokens, -logps))
        return tokens[order], logps[order], mass

    check.prune_row.run(reversed_ties)


@pytest.mark.parametrize("exercise", exercises.all(), ids=lambda exercise: exercise.name)
def test_only_causes_that_fit_all_that_came_before_are_named(exercise):
    """Right until the last case, where it makes a mistake that was to be seen in the first."""
    cases = list(exercise.cases(np.random.default_rng(0)))
    for wrong in exercise.wrong_answers.values():
        asked = []

        def late(*arguments, wrong=wrong, asked=asked):
            asked.append(arguments)
            return (exercise.reference if len(asked) < len(cases) else wrong)(*arguments)

        message = told(exercise, late)
        outcome = attempt(wrong, cases[-1].arguments)
        if outcome.error is None and not exercise._is_right(wrong, cases[0]):
            assert " ".join(wrong.__doc__.split()).rstrip(".") not in message


def told(exercise, function):
    try:
        exercise.run(function)
    except check.CheckFailed as error:
        return str(error)
    return ""


def test_none_in_one_branch_names_its_case():
    def sometimes(values, reward, alpha):
        return right("step_credit")(values, reward, alpha) if len(values) == 4 else None

    message = refusal(check.step_credit, sometimes)
    assert "nothing to check yet" not in message
    assert "your function returns None here" in message
    assert "where: " in message
    source = (
        "import numpy as np\ndef step_credit(values, reward, alpha):\n    if len(values) == 4:\n"
        "        return np.diff(np.append(values, reward / alpha))"
    )
    assert grade_exercise(check.step_credit, [source]).status == "failed"


@pytest.mark.parametrize(
    "function",
    [
        lambda values: values,
        lambda: 0,
        lambda values, reward, alpha, more: values,
        lambda *, values: values,
    ],
)
def test_other_parameters_are_told_which_are_asked_for(function):
    message = refusal(check.step_credit, function)
    assert "it is called as step_credit(values, reward, alpha)" in message


def test_a_type_error_inside_is_not_taken_for_one():
    def inner(values, reward, alpha):
        return (lambda x: x)()

    message = refusal(check.step_credit, inner)
    assert "in its line" in message
    assert "it is called as" not in message
    source = "def step_credit(values):\n    return values"
    told = grade_exercise(check.step_credit, [source]).reason
    assert "it is called as step_credit(values, reward, alpha)" in told
    source = "def step_credit(values, reward, alpha):\n    return (lambda x: x)()"
    assert "it is called as" not in grade_exercise(check.step_credit, [source]).reason


def test_a_number_of_few_digits_is_told_so():
    wrong = refusal(check.log_z, lambda *a: np.float32(right("log_z")(*a)))
    assert "expected float64, got float32" in wrong


def test_two_mistakes_of_grpo_at_once_are_named():
    wrong = refusal(check.grpo_advantage, lambda r: (r - r.mean()) / (r.std() + 1e-4))
    assert "whole batch" in wrong
    assert "ddof=1" in wrong


def test_the_arguments_of_the_case_that_failed_are_kept():
    def wrong(values, reward, alpha):
        return right("step_credit")(values, reward, alpha) * (alpha > 0.01)

    refusal(check.step_credit, wrong)
    values, _, alpha = check.step_credit.failed
    assert alpha <= 0.01
    assert len(values) >= 1


def test_one_answer_is_one_answer():
    exercise = check.enumerate_leaves
    assert "expected 1 answer, (0,), not (1,)" in exercise.difference([((1,), 1)], [((0,), 1)])


def test_tensors_are_answers_or_told_in_words():
    torch = pytest.importorskip("torch")

    def right(values, reward, alpha):
        return torch.diff(torch.tensor([*values.tolist(), reward / alpha], dtype=torch.float64))

    check.step_credit(lambda *given: right(*given).requires_grad_())
    with pytest.raises(check.CheckFailed, match="expected float64, got bfloat16"):
        check.step_credit(lambda *given: right(*given).bfloat16())
