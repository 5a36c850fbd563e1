"""Answers that lie ready: which are picked, and which a replay forgets."""

from __future__ import annotations

import torch

from gnivo_edu.training.stock import Replay, Rows, Stock


def rows(prompts: list[int], written: int = 0) -> Rows:
    """An answer to each of these prompts, numbered by its length."""
    count = len(prompts)
    return {
        "tokens": torch.zeros(count, 2, dtype=torch.int64),
        "lengths": torch.arange(count),
        "logps": torch.zeros(count, 2),
        "truncated": torch.zeros(count, dtype=torch.bool),
        "rewards": torch.zeros(count),
        "prompt_index": torch.tensor(prompts, dtype=torch.int64),
        "written": torch.full((count,), written),
    }


def test_picks_are_answers_to_their_prompt_each_once_and_drawn_evenly() -> None:
    stock = Stock(rows([3, 0, 3, 3, 0]))
    seen = torch.zeros(3)
    for step in range(600):
        three, none, zero = stock.pick([3, 1, 0], count=2, seed=0, step=step)
        assert len(none) == 0
        assert sorted(stock.rows["lengths"][zero].tolist()) == [1, 4]
        picked = stock.rows["lengths"][three]
        assert len(set(picked.tolist())) == 2
        assert set(picked.tolist()) <= {0, 2, 3}
        seen += torch.tensor([int(number in picked) for number in (0, 2, 3)])
    # Each is picked two times in three; five standard deviations of 600 draws.
    assert (seen / 600 - 2 / 3).abs().max() < 5 * (2 / 9 / 600) ** 0.5


def test_a_place_picks_the_same_among_any_number_of_others() -> None:
    stock = Stock(rows([0] * 20))
    many = stock.pick([0] * 5, count=3, seed=1, step=2)
    for count in range(1, 6):
        few = stock.pick([0] * count, count=3, seed=1, step=2)
        assert all(torch.equal(one, two) for one, two in zip(few, many, strict=False))
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(many[0], stock.pick([0], count=3, seed=1, step=3)[0])


def test_a_replay_keeps_what_is_at_most_so_many_steps_old_at_the_next_step() -> None:
    replay = Replay(rows([]), age=2)
    for step in range(5):
        replay = replay.after(step, rows([7, 8], written=step))
        kept = replay.rows["written"].unique().tolist()
        assert kept == [s for s in range(step + 1) if step + 1 - s <= 2]
    assert len(replay.of(7)) == len(replay.of(8)) == 2
