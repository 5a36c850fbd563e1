"""Every check accepts its reference, and rejects the stub, every wrong answer, naming the mistake
alone, small errors and other forms of answer.
"""

import numpy as np
import pytest

from gnivo_edu.course import check, exercises
from tests.course.exercises import refusal

EXERCISES = exercises.all()
WRONG = [
    pytest.param(e, name, id=f"{e.name}: {name}") for e in EXERCISES for name in e.wrong_answers
]
STORY = {
    "kl_in_the_loss": {"k1 (zero gradient)", "k3 ratio inverted", "forward KL", "no mask"},
    "sequence_logprob": {"drops EOS", "counts padding", "mean for sum", "logits shifted by one"},
    "enumerate_leaves": {
        "continues past EOS",
        "fixed length only",
        "uniform probabilities",
        "duplicates",
    },
    "log_z": {"unweighted mean", "R without 1/alpha", "max", "overflow at alpha = 1e-3"},
    "tilted_policy": {
        "forgets pi_ref",
        "alpha R for R/alpha",
        "normalises across prompts",
        "unnormalised",
    },
    "soft_value_backup": {"hard max", "mean of V", "uniform children", "base 2", "reward units"},
    "value_by_averaging": {
        "not divided by prefix mass",
        "off-by-one prefix",
        "log inside the mean",
        "unweighted leaves",
    },
    "optimal_prefix_logps": {
        "no Z",
        "child's V",
        "next token instead of prefix",
        "V in reward units",
    },
    "step_credit": {"V itself", "V - V(empty)", "sign", "last step dropped"},
    "success_probability": {"sigmoid(V)", "alpha V", "e^{V - 1/alpha}", "missing -1"},
    "optimal_step_logps": {
        "softmax of V without the reference",
        "normalised by log Z",
        "softmax over the group axis",
        "depth off by one",
    },
    "alpha_for_kl_budget": {"forward KL", "per-token KL", "wrong monotonicity", "returns 1/alpha"},
    "prefix_logratio": {
        "exclusive cumsum",
        "sums over K",
        "cumprod of log-ratios",
        "unmasked padding",
    },
    "gnivo_loss": {"softmax weights at t < T", "softmax over T", "j from 1", "mean for sum"},
    "gnivo_gradient_weights": {"drops W", "q = 1/K always", "sign", "q constant 0"},
    "shift_and_spread": {
        "one constant for all depths",
        "mean called spread",
        "unreachable prefixes counted",
        "sign",
    },
    "pin_the_shift": {"subtracts the mean", "max", "uniform weights", "last depth only"},
    "gnivo_loss_unequal_lengths": {
        "mask instead of absorb",
        "own T_i",
        "divide by max T_i",
        "drop EOS",
    },
}


def altered(answer, change):
    """The answer once for each array in it, with `change` added to that array's first number."""
    if isinstance(answer, list | tuple):
        return [
            type(answer)([*answer[:place], other, *answer[place + 1 :]])
            for place in range(len(answer))
            for other in altered(answer[place], change)
        ]
    array = np.array(answer, dtype=np.float64)
    array.ravel()[np.flatnonzero(np.isfinite(array))[:1]] += change
    return [array if array.ndim else float(array)]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
class TestEveryExercise:
    def test_reference_passes_for_every_seed_and_prints_one_line(self, exercise, capsys):
        for seed in range(20):
            exercise(exercise.reference, seed)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 20
        assert all(line.startswith(f"Correct. {exercise.name} ") for line in lines)

    def test_stub_is_rejected_kindly(self, exercise):
        for stub in (exercise.stub, lambda *arguments: None):
            message = refusal(exercise, stub)
            assert "nothing to check yet" in message
            assert f"check.{exercise.name}.hint()" in message
            assert len(message.splitlines()) == 1

    def test_it_is_listed_as_a_check_and_says_what_to_do(self, exercise):
        assert getattr(check, exercise.name) is exercise
        assert exercise.name in dir(check)
        assert f"`{exercise.name}(" in exercise.statement
        assert set(exercise.wrong_answers) >= STORY.get(exercise.name, set())

    def test_hints_come_one_at_a_time_and_then_the_solution(self, exercise, capsys):
        exercise._hints_given = 0
        for _ in range(len(exercise.hints) + 1):
            exercise.hint()
        exercise.solution()
        exercise._hints_given = 0
        out = capsys.readouterr().out
        positions = [out.index(hint) for hint in exercise.hints]
        assert positions == sorted(positions)
        assert len(positions) in (2, 3)
        assert f"Hint {len(positions)} of {len(positions)}: " in out
        assert out.index("No more hints.") < out.index(f"def {exercise.name}(")

    def test_a_seed_asks_its_own_questions(self, exercise):
        def answers(seed):
            given = []

            def listening(*arguments):
                given.append(exercise.reference(*arguments))
                return given[-1]

            exercise.run(listening, seed)
            return repr(given)

        assert answers(0) == answers(0) != answers(1)

    def test_what_is_not_a_function_is_refused(self, exercise):
        assert "without brackets" in refusal(exercise, 0.5)

    def test_an_error_in_the_students_code_names_its_line(self, exercise):
        def broken(*arguments):
            return arguments[0] + undefined  # noqa: F821

        message = refusal(exercise, broken)
        assert "Error: " in message
        assert "in its line: return arguments[0] + undefined" in message

    @pytest.mark.parametrize("change", [1e-5, -1e-5, np.nan])
    def test_small_errors_are_refused_without_a_guess(self, exercise, change):
        first = next(iter(exercise.cases(np.random.default_rng(0))))
        for place in range(len(altered(exercise.reference(*first.arguments), change))):

            def nearly(*arguments, place=place):
                answers = altered(exercise.reference(*arguments), change)
                return answers[min(place, len(answers) - 1)]

            message = refusal(exercise, nearly)
            assert "expected " in message or "must be " in message
            assert "usual cause" not in message

    def test_other_forms_of_answer_are_refused(self, exercise):
        forms = ("1.0", True, {}, object(), [1.0, 2.0], [1.0, [2.0]], 3.0)
        for form in (*forms, np.ones(3, dtype=complex), np.zeros((7, 7))):
            message = refusal(exercise, lambda *arguments, form=form: form)
            assert "expected " in message or "must be " in message

    def test_arguments_cannot_be_changed(self, exercise):
        def in_place(*arguments):
            for argument in arguments:
                for array in argument if isinstance(argument, list) else [argument]:
                    if isinstance(array, np.ndarray):
                        array[...] = 0
            return exercise.reference(*arguments)

        first = next(iter(exercise.cases(np.random.default_rng(0))))
        if any(isinstance(argument, list | np.ndarray) for argument in first.arguments):
            assert "work on a copy" in refusal(exercise, in_place)


@pytest.mark.parametrize(("exercise", "name"), WRONG)
@pytest.mark.slow
def test_wrong_answer_is_rejected_and_named(exercise, name):
    wrong = exercise.wrong_answers[name]
    cause = " ".join(wrong.__doc__.split()).rstrip(".")
    for seed in range(12):
        message = refusal(exercise, wrong, seed)
        assert f"usual cause: this is what you get when {cause}" in message
        assert message.count("; or when") == 0, "another known mistake looks the same on this case"
        assert "where: " in message
        assert "your function raised" in message or ("expected " in message and "got " in message)
