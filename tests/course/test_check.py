"""Every check accepts its reference, and rejects the stub and every wrong answer, naming the
mistake.
"""

import math
import subprocess
import sys

import numpy as np
import pytest

from gnivo_edu.course import check, exercises

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


def refusal(exercise, function, seed=0):
    with pytest.raises(check.CheckFailed) as caught, np.errstate(all="ignore"):
        exercise.run(function, seed)
    return str(caught.value)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
class TestEveryExercise:
    def test_reference_passes_for_every_seed_and_prints_one_line(self, exercise, capsys):
        for seed in range(5):
            exercise(exercise.reference, seed)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 5
        assert all(line.startswith(f"Correct. {exercise.name} ") for line in lines)

    def test_stub_is_rejected_kindly(self, exercise):
        for stub in (exercise.stub, lambda *arguments: None):
            message = refusal(exercise, stub)
            assert "nothing to check yet" in message
            assert f"check.{exercise.name}.hint()" in message
            assert len(message.splitlines()) == 1

    def test_it_is_listed_as_a_check_and_says_what_to_do(self, exercise):
        assert getattr(check, exercise.name) is exercise
        assert exercise.name in check.__all__
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


@pytest.mark.parametrize(("exercise", "name"), WRONG)
def test_wrong_answer_is_rejected_and_named(exercise, name):
    wrong = exercise.wrong_answers[name]
    cause = " ".join(wrong.__doc__.split()).rstrip(".")
    for seed in range(5):
        message = refusal(exercise, wrong, seed)
        assert f"usual cause: this is what you get when {cause}" in message
        assert message.count("; or when") == 0, "another known mistake looks the same on this case"
        assert "where: " in message
        assert "your function raised" in message or ("expected " in message and "got " in message)


# --- sequence_logprob -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "right",
    [
        lambda logps, tokens, length: sum(logps[t][tokens[t]] for t in range(length)),
        lambda logps, tokens, length: np.take_along_axis(
            logps[:length], tokens[:length, None], 1
        ).sum(),
        lambda logps, tokens, length: math.fsum(logps[np.arange(length), tokens[:length]].tolist()),
        lambda logps, tokens, length: np.array(logps[np.arange(length), tokens[:length]].sum()),
    ],
)
def test_other_ways_to_sum_are_right(right):
    check.sequence_logprob.run(right)


def test_padding_that_looks_like_a_token_and_padding_that_does_not():
    where = [
        case.where
        for case in check.sequence_logprob.cases(np.random.default_rng(0))
        if "pad id" in case.where
    ]
    assert len(where) == 4

    def crashes_only_beyond_the_vocabulary(logps, tokens, length):
        logps[np.arange(len(tokens)), tokens]
        return check.sequence_logprob.reference(logps, tokens, length)

    message = refusal(check.sequence_logprob, crashes_only_beyond_the_vocabulary)
    assert "the pad id is 9" in message
    assert "IndexError" in message
    assert "padding is counted" in message


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (np.zeros(3), "expected one number, got an array of shape (3,)"),
        ("-2.8", "expected one number, got str '-2.8'"),
        (True, "expected one number, got bool True"),
        (1j, "expected one number, got complex 1j"),
        (object(), "expected one number, got object <object object>"),
        (math.nan, "got nan"),
    ],
)
def test_type_and_shape(returned, complaint):
    message = refusal(check.sequence_logprob, lambda logps, tokens, length: returned)
    assert complaint in message
    assert "usual cause" not in message


def test_arguments_cannot_be_changed():
    def in_place(logps, tokens, length):
        logps[length:] = 0.0
        return logps.sum()

    assert "work on a copy" in refusal(check.sequence_logprob, in_place)


def test_an_unknown_mistake_is_rejected_without_a_guess():
    message = refusal(
        check.sequence_logprob, lambda *a: check.sequence_logprob.reference(*a) + 1e-6
    )
    assert "usual cause" not in message
    assert "hint()" in message


# --- enumerate_leaves -----------------------------------------------------------------------------


def test_order_and_container_of_the_leaves_do_not_matter():
    def shuffled(*arguments):
        leaves = check.enumerate_leaves.reference(*arguments)
        return tuple((np.array(tokens), np.float64(p)) for tokens, p in reversed(leaves))

    check.enumerate_leaves.run(shuffled)


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        ({}, "expected a list of (tokens, probability) pairs, got dict {}"),
        ((x for x in ()), "got generator"),
        ([(0, 1, 2)], "each entry must be a pair (tokens, probability), got tuple (0, 1, 2)"),
        ([("ab", 0.1)], "tokens must be a tuple of integers, got str 'ab'"),
        ([((2,), None)], "expected one number, got NoneType None"),
        ([], "your 0 answers have total probability 0"),
    ],
)
def test_form_of_the_leaves(returned, complaint):
    message = refusal(check.enumerate_leaves, lambda *arguments: returned)
    assert complaint in message
    assert " at 0x" not in message


def test_one_wrong_probability_is_found_in_every_place():
    leaves = check.enumerate_leaves.reference

    def off(index):
        def answer(*arguments):
            right = leaves(*arguments)
            k = index % len(right)
            return [*right[:k], (right[k][0], right[k][1] + 1e-6), *right[k + 1 :]]

        return answer

    for index in range(7):
        assert "expected the answer" in refusal(check.enumerate_leaves, off(index))


def test_an_answer_past_the_end_is_called_none():
    wrong = check.enumerate_leaves.wrong_answers["continues past EOS"]
    assert "expected 7 answers and (2, 0) is none of them" in refusal(check.enumerate_leaves, wrong)


def test_worked_tree_sums_to_one():
    case = next(iter(check.enumerate_leaves.cases(np.random.default_rng(0))))
    assert sum(p for _, p in case.expected) == pytest.approx(1, abs=1e-15)
    assert (
        check.enumerate_leaves.difference(
            check.enumerate_leaves.reference(*case.arguments), case.expected
        )
        is None
    )


def test_checks_need_numpy_only():
    program = (
        "import sys, gnivo_edu.course.check\n"
        "heavy = ('torch', 'transformers', 'jupytext', 'nbformat', 'nbclient', 'IPython', "
        "'matplotlib', 'gymnasium')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
