"""Demonstrations: as rows of inputs and targets, and with slips as frequent as asked for."""

import numpy as np
import pytest
import torch

from gnivo_edu.policies.small import small_transformer
from gnivo_edu.tasks.arithmetic import Arithmetic
from gnivo_edu.training.demonstrations import NO_TARGET, demonstration_rows
from toy_envs import ArithmeticChain


def test_padding_of_prompts_and_answers_does_not_enter_the_loss():
    mixed = Arithmetic(tiers=(2, 4), num_prompts=5)
    tokens, lengths, index = mixed.demonstrations(8, 0.5, seed=1)
    assert len(set(mixed.tier[index])) == 2  # tiers of both lengths
    model = small_transformer(mixed, "tiny", initializer_range=0.4)

    def losses(rows):
        prompts = [mixed.prompts()[i][mixed.prompt_mask()[i]] for i in index[rows]]
        inputs, targets = demonstration_rows(
            prompts, tokens[rows], lengths[rows], mixed.pad_token_id
        )
        logits = model(input_ids=inputs).logits.detach()
        return torch.nn.functional.cross_entropy(
            logits.mT, targets, ignore_index=NO_TARGET, reduction="none"
        ).sum(1)

    alone = torch.cat([losses(np.array([row])) for row in range(8)])
    torch.testing.assert_close(losses(np.arange(8)), alone, atol=1e-4, rtol=1e-5)


def test_slips_are_as_frequent_as_asked_for_and_spare_the_end():
    chain = ArithmeticChain()
    tokens, lengths, index = chain.demonstrations(2000, wrong_rate=0.3, seed=0)
    right = [chain.demonstration(i) for i in range(4)]
    wrong = np.concatenate(
        [row[: n - 1] != right[i][:-1] for row, n, i in zip(tokens, lengths, index, strict=True)]
    )
    assert wrong.mean() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / len(wrong)) ** 0.5)
    assert {int(row[n - 1]) for row, n in zip(tokens, lengths, strict=True)} == {chain.eos_token_id}
    assert all((row == chain.eos_token_id).sum() == 1 for row in tokens)
    assert all(lengths[r] == len(right[i]) for r, i in enumerate(index))
