"""Facts about ArithmeticChain, from witnesses that share no code with it."""

import re
import time

import numpy as np
import pytest

from tests.toy_envs.answers import every_answer
from toy_envs import ArithmeticChain, TokenMDP


@pytest.fixture(scope="module", params=["small", "trained"])
def chain(request: pytest.FixtureRequest) -> ArithmeticChain:
    if request.param == "small":
        return ArithmeticChain()
    start = time.process_time()
    env = ArithmeticChain(operations=4, base=10, digits=2, num_prompts=1000)
    assert time.process_time() - start < 1
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
    assert chain.vocab_size == chain.base + 5
    assert chain.horizon == chain.operations * (chain.digits + 1)
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
    # Wrong steps, right total.
    assert paid([f"+;{total}."[-chain.horizon :] for total in last]) == {1.0}
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
    start = time.process_time()
    tokens, rewards = every_answer(env)
    assert len(tokens) == 4096
    assert time.process_time() - start < 0.3
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
