"""Steps from tokens: boundaries by the text so far, never by encoding it again."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from gnivo_edu.tasks.segment import (
    check_rows,
    get_segmenter,
    step_ids_of,
    steps_after,
    token_pieces,
    tokens_as_steps,
)


def steps(name: str, pieces: list[str]) -> list[int]:
    return get_segmenter(name)(pieces).tolist()


def test_lines_end_after_their_newlines() -> None:
    assert steps("line", ["a", "\n", "b", "\n\n", "c", ""]) == [0, 0, 1, 1, 2, 2]
    assert steps("line", ["a", "\n", "\n", "b"]) == [0, 0, 0, 1]
    assert steps("line", ["a\nb", "c", "\nd", "e"]) == [0, 1, 1, 2]
    assert steps("line", ["a\nb\nc", "d"]) == [
        0,
        1,
    ]  # two ends within one token are one step further
    assert steps("line", ["\n", "\n", "a", "b"]) == [0, 0, 0, 0]  # nothing has been said yet
    assert steps("line", ["a", "\n", " ", "\n", ""]) == [0, 0, 0, 0, 0]  # nothing follows
    assert steps("line", []) == []


def test_sentences_end_after_the_space_behind_their_point() -> None:
    assert steps(
        "sentence", ["He", " ran", ".", " She", " too", "!", "\n", "It", " is", " 3", ".", "5", "."]
    ) == ([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    assert steps("sentence", ["Hi", ". ", "You", '?" ', "Yes"]) == [0, 0, 1, 1, 2]
    assert steps("sentence", ["1. ", "Add", ".\n", "12. ", "Stop"]) == [0, 0, 0, 1, 1]
    assert steps("sentence", ["Mr. ", "Smith", " went", ". ", "He", " left"]) == [0, 0, 0, 0, 1, 1]


def test_delimiters_and_tokens() -> None:
    assert steps("after:;", list("64;69;71;62.")) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert steps("after:.", list("a.b")) == [0, 0, 1]  # a text, no pattern
    assert steps("token", ["a", "b", ""]) == [0, 1, 2]
    assert get_segmenter(tokens_as_steps) is tokens_as_steps
    with pytest.raises(ValueError, match="did you mean 'sentence'"):
        get_segmenter("sentences")


def test_step_ids_are_what_a_batch_accepts() -> None:
    torch = pytest.importorskip("torch")
    from gnivo_edu.batch import GroupBatch

    rng = random.Random(0)
    rows = [
        [rng.choice(["a", "\n", "b\nc", "", " "]) for _ in range(rng.randrange(1, 9))]
        for _ in range(60)
    ]
    ids = step_ids_of(rows, get_segmenter("line"), width=8)
    assert ids.shape == (60, 8)
    mask = torch.arange(8) < torch.tensor([[len(row)] for row in rows])
    batch = GroupBatch(
        policy_logps=-torch.ones(30, 2, 8) * mask.view(30, 2, 8),
        behaviour_logps=-torch.ones(30, 2, 8) * mask.view(30, 2, 8),
        rewards=torch.zeros(30, 2),
        mask=mask.view(30, 2, 8),
        step_ids=torch.from_numpy(ids).view(30, 2, 8),
    )
    total = batch.by_step().policy_logps.sum(-1)
    torch.testing.assert_close(total, batch.policy_logps.sum(-1))


def test_pieces_of_a_byte_fallback_tokenizer(stories_tokenizer) -> None:
    text = 'Once upon a time, café €5 😀.\nShe went home. Tom said "Hi!"\n'
    ids = [*stories_tokenizer(text)["input_ids"], stories_tokenizer.eos_token_id]
    pieces = token_pieces(stories_tokenizer, ids)
    assert "".join(pieces) == text
    assert len(pieces) == len(ids)
    assert pieces[0] == pieces[-1] == ""
    assert pieces[pieces.index("😀") - 3 : pieces.index("😀")] == ["", "", ""]
    assert "\ufffd" not in "".join(pieces)
    assert max(get_segmenter("line")(pieces)) == 1
    assert max(get_segmenter("sentence")(pieces)) == 2


def test_pieces_of_a_byte_level_tokenizer(byte_tokenizer) -> None:
    text = "Σ = 3, naïve 日本語 😀\nThe next step: 12.\n\nSo"
    ids = byte_tokenizer(text)["input_ids"]
    pieces = token_pieces(byte_tokenizer, ids)
    assert pieces.count("") > 5  # characters are split over tokens
    assert "".join(pieces) == text
    own = steps_after(r"\n+")(pieces)
    for token, (piece, step) in enumerate(zip(pieces, own, strict=True)):
        start = len("".join(pieces[:token]))
        assert step == sum(end <= start for end in (text.index("The"), text.index("So"))), (
            token,
            piece,
        )


def test_pieces_never_fail_on_tokens_that_spell_nothing(stories_tokenizer, byte_tokenizer) -> None:
    rng = random.Random(1)
    for tokenizer in (stories_tokenizer, byte_tokenizer):
        for _ in range(40):
            ids = [rng.randrange(len(tokenizer)) for _ in range(30)]
            pieces = token_pieces(tokenizer, ids)
            assert len(pieces) == 30
            own = get_segmenter("line")(pieces)
            assert own[0] == 0
            assert all(0 <= after - before <= 1 for before, after in pairwise(own.tolist()))


def test_bytes_that_make_up_no_character_do_not_wait_for_ever(stories_tokenizer) -> None:
    byte, word = (stories_tokenizer.convert_tokens_to_ids(token) for token in ("<0xF0>", "he"))
    pieces = token_pieces(stories_tokenizer, [byte] * 8 + [word])
    assert pieces == ["", "", "", "\ufffd" * 4] * 2 + ["he"]


def test_rows_are_checked() -> None:
    assert check_rows([[1, 2], [3, 9]], [2, 1]) == [[1, 2], [3]]
    for tokens, lengths, message in (
        ([1], [1], "need tokens"),
        ([[1]], [2], "lengths must be in 0..1"),
    ):
        with pytest.raises(ValueError, match=message):
            check_rows(tokens, lengths)


def test_the_last_step_goes_on_over_the_padding() -> None:
    ids = step_ids_of([["a\n", "b"], [], ["c"]], get_segmenter("line"), width=4)
    np.testing.assert_array_equal(ids, [[0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
