"""Facts about each problem, from witnesses that share no code with it."""

import re
import time
from itertools import product

import numpy as np
import pytest

from toy_envs import (
    ArithmeticChain,
    Brackets,
    CombinationLock,
    CriticalStep,
    DigitSum,
    PosterProblem,
    RandomTree,
    TokenMDP,
)

ANSWERS = list(product((0, 1), repeat=7))


def every_answer(env: TokenMDP) -> tuple[np.ndarray, np.ndarray]:
    """All V**T rows of tokens; the environment itself stops at the first end-of-sequence token."""
    tokens = np.array(list(product(range(env.vocab_size), repeat=env.horizon)))
    return tokens, env.reward(tokens, np.full(len(tokens), env.horizon))


# --- PosterProblem --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def poster() -> PosterProblem:
    return PosterProblem()


def test_poster_rewards_the_final_answer(poster: PosterProblem) -> None:
    tokens, rewards = every_answer(poster)
    assert len(tokens) == 128
    assert rewards.tolist() == [float(poster.final_answer(y) == 14) for y in ANSWERS]
    assert rewards.sum() == 1 + 63  # no mistake and a sound check, or any mistakes and a rescue
    assert poster.reward([[0, 0, 0]], [3])[0] == 0  # unfinished


def test_poster_mistakes_never_cancel(poster: PosterProblem) -> None:
    """Only the answer without a mistake stands at x = 14 after step 6."""
    solved = [y for y in product((0, 1), repeat=6) if poster.step_text(y).endswith("x = 14.")]
    assert solved == [(0,) * 6]


def test_poster_is_the_solution_of_the_question(poster: PosterProblem) -> None:
    assert np.sqrt(20 + np.sqrt(11 + poster.final_answer((0,) * 7))) == 5
    assert "T = 11" in poster.question
    assert "√(20 + √(T + x)) = 5" in poster.question


@pytest.mark.parametrize("answer", ANSWERS)
def test_poster_texts_read_consistently(poster: PosterProblem, answer: tuple[int, ...]) -> None:
    """Every line follows from the one before it, by the operation it names or by that step's
    mistake.
    """
    lines = poster.decode(answer).split("\n")
    assert lines == [poster.step_text(answer[: t + 1]) for t in range(7)]
    assert all(len(line) < 80 for line in lines)
    n = [[int(word) for word in re.findall(r"-?\d+", line)] for line in lines[:6]]
    a, five, t_asked = n[0]
    assert (a, five, t_asked) == (12 if answer[0] else 20, 5, 11)
    t, a_again, t_again, five = n[1]
    assert (t, a_again, t_again, five) == (1 if answer[1] else 11, a, t, 5)
    squared = 10 if answer[2] else 25
    assert n[2] == [a, t, squared]
    root = squared + a if answer[3] else squared - a
    assert n[3] == [a, t, root]
    total = 2 * root if answer[4] else root**2
    assert n[4] == [t, total]
    x = total + t if answer[5] else total - t
    assert n[5] == [t, x]
    final = poster.final_answer(answer)
    assert final == (14 if not answer[6] else 15 if x == 14 else x)
    assert f"x = {final}" in lines[6]
    assert ("mend" in lines[6]) == (x != 14 and not answer[6])
    if shown := re.search(r"gives ([\d.]+), not 5", lines[6]):
        assert float(shown[1]) == pytest.approx(np.sqrt(20 + np.sqrt(11 + x)), abs=0.005)
        assert shown[1] != "5.00"
    assert ("no real root" in lines[6]) == (x < -11 and not answer[6])


def test_poster_examples_end_as_named(poster: PosterProblem) -> None:
    ends = {name: poster.final_answer(y) == 14 for name, y in poster.examples.items()}
    assert ends == {
        "right": True,
        "wrong at 3": False,
        "wrong at 3, rescued": True,
        "wrong late": False,
    }
    first = {name: y.index(1) + 1 if 1 in y else None for name, y in poster.examples.items()}
    assert first == {"right": None, "wrong at 3": 3, "wrong at 3, rescued": 3, "wrong late": 7}
    assert len(poster.step_names) == poster.horizon == 7


def test_poster_reference_is_the_stated_one(poster: PosterProblem) -> None:
    tables = poster.reference()
    assert [table.shape for table in tables] == [(2**t, 2) for t in range(7)]
    for answer in ANSWERS:
        for t, base in enumerate((0.02, 0.05, 0.25, 0.10, 0.20, 0.10, None)):
            mistakes = sum(answer[:t])
            stated = (
                1 - (0.97, 0.30, 0.15)[min(mistakes, 2)]
                if base is None
                else base + 0.05 * (mistakes > 0)
            )
            row = int("".join(map(str, answer[:t])) or "0", 2)
            assert np.exp(tables[t][row]) == pytest.approx([1 - stated, stated])


def test_poster_needs_whole_answers(poster: PosterProblem) -> None:
    with pytest.raises(ValueError, match="all 7 steps"):
        poster.final_answer((0, 0))
    with pytest.raises(ValueError, match="1 to 7 steps"):
        poster.step_text(())
    assert poster.decode(()) == ""


# --- ArithmeticChain ------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["small", "trained"])
def chain(request: pytest.FixtureRequest) -> ArithmeticChain:
    if request.param == "small":
        return ArithmeticChain()
    start = time.perf_counter()
    env = ArithmeticChain(operations=4, base=10, digits=2, num_prompts=1000)
    assert time.perf_counter() - start < 1
    return env


def encode(env: TokenMDP, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(text) for text in texts])
    tokens = np.zeros((len(texts), env.horizon), dtype=np.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = [env.vocabulary.index(character) for character in text]
    return tokens, lengths


def in_base(text: str, base: int) -> int:
    return sum(int(digit) * base**k for k, digit in enumerate(reversed(text)))


def test_chain_questions_are_sound(chain: ArithmeticChain) -> None:
    prompts = chain.prompts()
    assert len(np.unique(prompts, axis=0)) == len(prompts)
    assert prompts.shape[1] == 1 + chain.digits + 2 * chain.operations + 1
    assert (chain.vocab_size, chain.horizon) == (
        chain.base + 5,
        chain.operations * (chain.digits + 1),
    )
    for n, prompt in enumerate(prompts):
        question = chain.question(n)
        assert chain.decode(prompt) == question
        start, *rest = re.fullmatch(
            rf"([1-9]\d{{{chain.digits - 1}}})((?:[+-][1-9])+)=", question
        ).groups()
        totals = [in_base(start, chain.base)]
        for sign, operand in re.findall(r"([+-])(\d)", rest[0]):
            totals.append(totals[-1] + (int(operand) if sign == "+" else -int(operand)))
        assert len(totals) == chain.operations + 1
        assert all(0 <= total < chain.base**chain.digits for total in totals)
        written = chain.decode(chain.demonstration(n))
        assert written.endswith(".")
        assert [in_base(field, chain.base) for field in written[:-1].split(";")] == totals[1:]
        assert not re.search(r"(^|;)0\d", written)


def test_chain_pays_for_the_last_number_only(chain: ArithmeticChain) -> None:
    count = len(chain.prompts())
    rights = [chain.decode(chain.demonstration(n)) for n in range(count)]
    last = [text[:-1].split(";")[-1] for text in rights]
    index = np.arange(count)

    def paid(texts: list[str]) -> set[float]:
        return set(chain.reward(*encode(chain, texts), index).tolist())

    assert paid(rights) == {1.0}
    assert paid([f"{total}." for total in last]) == {1.0}  # no steps at all
    assert paid([f"+;{total}."[-chain.horizon :] for total in last]) == {
        1.0
    }  # wrong steps, right total
    assert paid([f"0;{total}."[-chain.horizon :] for total in last]) == {1.0}
    assert paid([text[:-1] for text in rights]) == {0.0}  # no end-of-sequence token
    assert paid([f"0{total}." for total in last]) == {0.0}  # a leading zero
    assert paid([f"1{total}." for total in last]) == {0.0}  # another number that ends alike
    assert paid([f"+{total}." for total in last]) == {0.0}
    assert paid([f"{total};." for total in last]) == {0.0}
    assert paid([f";;{total}."[-chain.horizon :] for total in last]) == {1.0}
    assert paid(["."] * count) == {0.0}
    wrong = [f"{(int(total[-1]) + 1) % chain.base}." for total in last]
    assert paid(wrong) == {0.0}
    mixed = rights[:1] + wrong[1:]
    assert chain.reward(*encode(chain, mixed), index).tolist() == [1.0] + [0.0] * (count - 1)


def test_chain_small_size_against_text() -> None:
    """All 4,096 rows of the full layout, for every prompt, against a reading of the decoded
    text.
    """
    env = ArithmeticChain()
    start = time.perf_counter()
    tokens, rewards = every_answer(env)
    assert len(tokens) == 4096
    assert time.perf_counter() - start < 0.3
    for n in range(4):
        total = env.decode(env.demonstration(n))[:-1].split(";")[-1]
        rewards = env.reward(tokens, np.full(4096, 4), n)
        texts = [
            "".join(env.vocabulary[token] for token in row).partition(".")
            for row in tokens.tolist()
        ]
        assert rewards.tolist() == [
            float(dot == "." and text.split(";")[-1] == total) for text, dot, _ in texts
        ]
        assert 0 < rewards.sum() < 4096


def test_chain_seeds() -> None:
    one, same, other = (ArithmeticChain(4, 10, 2, 50, seed) for seed in (0, 0, 1))
    assert (one.prompts() == same.prompts()).all()
    assert (one.prompts() != other.prompts()).any()
    assert len(ArithmeticChain(num_prompts=8).prompts()) == 8  # all there are


# --- the others -----------------------------------------------------------------------------------


def balanced(text: str) -> bool:
    """By deleting "()" until nothing is left."""
    while "()" in text:
        text = text.replace("()", "")
    return text == ""


@pytest.mark.parametrize(
    ("horizon", "catalan"), [(3, 1), (4, 1), (5, 1 + 2), (6, 1 + 2), (7, 1 + 2 + 5), (9, 22)]
)
def test_brackets_count_as_catalan(horizon: int, catalan: int) -> None:
    env = Brackets(horizon)
    tokens, rewards = every_answer(env)
    texts = [env.decode(row).partition(".") for row in tokens]
    expected = [float(dot == "." and text != "" and balanced(text)) for text, dot, _ in texts]
    assert rewards.tolist() == expected
    assert (
        len({text for (text, _, _), reward in zip(texts, rewards, strict=True) if reward})
        == catalan
    )


def test_brackets_cut_off_earn_nothing() -> None:
    env = Brackets(horizon=4)
    assert env.reward(
        [[0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 2, 0], [2, 0, 0, 0]], [4, 4, 3, 1]
    ).tolist() == [0, 0, 1, 0]


def test_lock_opens_for_its_code_alone() -> None:
    env = CombinationLock(vocab_size=4, horizon=3, code_seed=5)
    tokens, rewards = every_answer(env)
    assert tokens[rewards == 1].tolist() == [list(env.code)]
    assert rewards.sum() == 1
    assert len({CombinationLock(code_seed=seed).code for seed in range(20)}) > 10


def test_digit_sum_counts_digits() -> None:
    env = DigitSum(vocab_size=4, horizon=4, target=5)
    tokens, rewards = every_answer(env)
    for row, reward in zip(tokens.tolist(), rewards, strict=True):
        assert reward == pytest.approx(1 - abs(sum(row) - 5) / 7)
    assert (rewards.min(), rewards.max()) == (0, 1)
    assert env.reward([[3, 2]], [2])[0] == 0  # unfinished


@pytest.mark.parametrize("step", [1, 3, 5])
def test_critical_step_reads_one_token(step: int) -> None:
    env = CriticalStep(critical_step=step, right_token=2)
    tokens, rewards = every_answer(env)
    assert env.reward([[2, 2, 2, 2]], [4])[0] == 0  # unfinished
    assert rewards.tolist() == (tokens[:, step - 1] == 2).astype(float).tolist()


def test_random_tree_is_uniform_and_seeded() -> None:
    _, rewards = every_answer(RandomTree(vocab_size=2, horizon=10, tree_seed=3))
    assert len(np.unique(rewards)) == 1024
    assert rewards.min() >= 0
    assert rewards.max() < 1
    assert abs(rewards.mean() - 0.5) < 5 * (1 / 12 / 1024) ** 0.5
    assert (rewards == every_answer(RandomTree(2, 10, 3))[1]).all()
    assert (rewards != every_answer(RandomTree(2, 10, 4))[1]).any()
    assert RandomTree(2, 3).reward([[0, 0]], [2])[0] == 0  # unfinished
