"""The placebos: what each pays, against a plain loop, and that none helps by itself."""

import numpy as np
import pytest

from gnivo_edu.studies.rewards import paid
from gnivo_edu.tasks.arithmetic import Arithmetic


def answers(count: int = 40, K: int = 8):
    """Groups of answers, right and wrong, to a few questions; ragged ones among them."""
    task = Arithmetic((2, 3), num_prompts=count)
    rng = np.random.default_rng(0)
    questions = rng.choice(2 * count, size=5, replace=False)
    rows = []
    for question in questions.tolist():
        totals = task.totals(question)[1:]
        texts = [";".join(map(str, totals)) + "."] * 3
        texts += [";".join(map(str, [t + 1 for t in totals])) + "."] * 3
        texts += [f"{totals[-1]}.", "7;", f"7;7;7;{totals[-1]}."]  # too few, no end, too many
        rows += [(question, text) for text in texts]
    width = task.horizon
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    lengths = np.zeros(len(rows), dtype=np.int64)
    for row, (_, text) in enumerate(rows):
        ids = [task.vocabulary.index(c) for c in text]
        tokens[row, : len(ids)], lengths[row] = ids, len(ids)
    index = np.array([question for question, _ in rows])
    return task, rows, (tokens, lengths), index


def test_form_pays_for_the_number_of_totals_and_nothing_else() -> None:
    _, rows, drawn, index = answers()
    form = paid("form", 0, tiers=(2, 3), num_prompts=40)
    expected = [
        float(text.endswith(".") and text.count(";") + 1 == form.tier[question])
        for question, text in rows
    ]
    assert form.reward(*drawn, prompt_index=index).tolist() == expected


def test_graded_pays_the_share_of_right_totals() -> None:
    _, rows, drawn, index = answers()
    graded = paid("graded", 0, tiers=(2, 3), num_prompts=40)
    rewards = graded.reward(*drawn, prompt_index=index)
    for (question, text), reward in zip(rows, rewards.tolist(), strict=True):
        right = list(map(str, graded.totals(question)[1:]))
        written = text.rstrip(".").split(";")
        hits = sum(x == y for x, y in zip(written, right, strict=False))
        assert reward == pytest.approx(hits / max(len(written), len(right)))


def test_shuffled_pays_each_group_what_it_earns() -> None:
    task, _, drawn, index = answers()
    shuffled = paid("shuffled", 0, tiers=(2, 3), num_prompts=40)
    own, dealt = (t.reward(*drawn, prompt_index=index) for t in (task, shuffled))
    assert own.tolist() != dealt.tolist()
    for question in set(index.tolist()):
        assert sorted(own[index == question]) == sorted(dealt[index == question])


def test_neither_coins_nor_shuffles_know_the_answer() -> None:
    task, _, drawn, index = answers()
    own = task.reward(*drawn, prompt_index=index)
    for reward in ("random", "shuffled"):
        asked = paid(reward, 1, tiers=(2, 3), num_prompts=40)
        means = np.mean([asked.reward(*drawn, prompt_index=index) for _ in range(400)], axis=0)
        centre = own.mean() if reward == "shuffled" else 0.5
        # Four standard errors of a coin's mean over 400 throws.
        assert np.abs(means - centre).max() < 4 * 0.5 / 20


def test_a_seed_gives_the_same_coins() -> None:
    _, _, drawn, index = answers()
    first, second, other = (
        paid("random", seed, tiers=(2, 3), num_prompts=40).reward(*drawn, prompt_index=index)
        for seed in (3, 3, 4)
    )
    assert first.tolist() == second.tolist() != other.tolist()


def test_the_task_itself_is_no_placebo() -> None:
    assert paid("task", 0, tiers=(2,)).name == "arithmetic-train"
    assert paid("form", 0, tiers=(2,)).name == "arithmetic-train-form"
