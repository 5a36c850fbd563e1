"""Rows side by side with the others of their prompt, and keys that leave with their rows."""

from __future__ import annotations

import pytest
import torch
from transformers.cache_utils import DynamicCache

from gnivo_edu.policies.shared_keys import SharedKeys

N, HEADS, P, SIZE = 3, 2, 4, 6


@pytest.mark.parametrize("owner", [[0, 0, 1, 1, 2, 2], [2, 0, 0, 2], [1], [0, 1, 2], [1, 0, 2]])
@pytest.mark.parametrize("padded", [False, True])
def test_each_row_attends_to_its_own_prompt_and_answer(owner: list[int], padded: bool) -> None:
    torch.manual_seed(0)
    past = DynamicCache()
    prompt = torch.randn(2, N, HEADS, P, SIZE)
    past.update(prompt[0], prompt[1], 0)
    mask = torch.ones(N, P, dtype=torch.bool)
    mask[1, :2] = not padded
    keys = SharedKeys(past, mask, queries=2).repeated(torch.tensor(owner), room=2)
    answers = torch.randn(2, 2, len(owner), HEADS, SIZE)
    asked = torch.randn(2, len(owner), HEADS, 2, SIZE)
    for t in range(2):
        query, slots = keys.advance()
        query.copy_(asked[t])
        slots[0].copy_(answers[t])
        gathered = keys.attend(0).view(query.shape)
        for row, of in enumerate(owner):
            seen = [
                torch.cat([prompt[i, of][:, mask[of]], answers[: t + 1, i, row].transpose(0, 1)], 1)
                for i in (0, 1)
            ]
            weights = (asked[t, row] @ seen[0].mT).softmax(-1)
            torch.testing.assert_close(gathered[row], weights @ seen[1], rtol=0, atol=1e-5)


def test_prompts_leave_with_their_last_rows() -> None:
    past = DynamicCache()
    past.update(torch.randn(4, HEADS, P, SIZE), torch.randn(4, HEADS, P, SIZE), 0)
    keys = SharedKeys(past, torch.ones(4, P, dtype=torch.bool), queries=1)
    of_prompts = keys.bytes
    rows = keys.repeated(torch.tensor([0, 1, 2, 3]), room=2)
    of_answers = rows.bytes - of_prompts
    rows.keep(torch.tensor([3, 1, 2]))
    assert rows.bytes == of_prompts + of_answers * 3 // 4  # nothing is copied for one prompt
    rows.keep(torch.tensor([0, 2]))
    assert rows.bytes == of_prompts // 2 + of_answers // 2
