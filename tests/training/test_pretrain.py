import json

import numpy as np
import pytest
import torch

from gnivo_edu import exact
from gnivo_edu.policies import TabularLM, next_token_logps, tabulate, token_logps
from gnivo_edu.policies.loading import CHECKPOINTS, load_checkpoint, load_transformer
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.tasks.arithmetic import Arithmetic
from gnivo_edu.training.pretrain import (
    pretrain,
    pretrain_arithmetic,
    success_rates,
)
from toy_envs import ArithmeticChain, TokenMDP

TASK = Arithmetic(tiers=(2,), num_prompts=20)
SHORT = {"steps": 3, "batch_size": 6, "size": "tiny"}


class Recorded:
    """A task that keeps the demonstrations it was asked for."""

    def __init__(self, task):
        self.task, self.unwrapped, self.asked, self.written = task, self, [], []

    def __getattr__(self, name):
        return getattr(self.task, name)

    def demonstrations(self, count, wrong_rate, seed):
        self.asked.append((count, wrong_rate, seed))
        self.written.append(self.task.demonstrations(count, wrong_rate, seed))
        return self.written[-1]


def test_the_first_loss_is_that_of_the_tokens_of_the_answers():
    task = Recorded(TASK)
    run = pretrain(task, **SHORT, seed=5, wrong_rate=0.3)
    tokens, lengths, index = map(torch.from_numpy, task.written[0])
    untrained = small_transformer(TASK, "tiny", seed=5)
    logps = token_logps(untrained, TASK, tokens, lengths, index)
    assert run.losses[0] == pytest.approx(
        -float(logps.detach().sum()) / int(lengths.sum()), rel=1e-5
    )


def test_every_step_asks_for_fresh_demonstrations_at_the_chosen_rate():
    task = Recorded(TASK)
    pretrain(task, **SHORT, wrong_rate=0.3, right_first=0.3)
    counts, rates, seeds = zip(*task.asked, strict=True)
    assert (set(counts), rates, len(set(seeds))) == ({6}, (0.0, 0.3, 0.3), 3)


def test_the_loss_falls():
    losses = pretrain(
        TASK, steps=60, batch_size=32, size="tiny", learning_rate=1e-2, warmup=5
    ).losses
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5


def test_it_is_repeatable_and_depends_on_the_seed():
    first, again, other = (pretrain(TASK, **SHORT, seed=seed).losses for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_model_and_its_recipe_are_written(tmp_path):
    run = pretrain_arithmetic(tmp_path, tiers=(2,), test_tiers=(), num_prompts=10, **SHORT)
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert (recipe["steps"], recipe["size"], recipe["tiers"]) == (3, "tiny", [2])
    x = torch.tensor([[15, 1, 2]])
    assert torch.equal(
        load_transformer(tmp_path)(input_ids=x).logits, run.model(input_ids=x).logits
    )


def test_nothing_is_trained_for_a_request_that_must_fail(tmp_path):
    (tmp_path / "file").write_text("kept")
    asked = Recorded(TASK)
    for rates in ({"wrong_rate": 2.0}, {"wrong_rate": float("nan")}, {"right_first": -0.1}):
        with pytest.raises(ValueError, match=r"must be in 0\.\.1"):
            pretrain(asked, tmp_path / "new", **{**SHORT, "steps": 1}, **rates)
    assert not (tmp_path / "new").exists()
    for out in ("file", "file/below"):
        with pytest.raises(ValueError, match=r"cannot hold a model .*: choose another folder"):
            pretrain(asked, tmp_path / out, **SHORT)
    pretrain(TASK, tmp_path / "old", **SHORT)
    weights = (tmp_path / "old" / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="holds a model"):
        pretrain(asked, tmp_path / "old", **SHORT, seed=1)
    assert (tmp_path / "old" / "model.safetensors").read_bytes() == weights
    assert asked.asked == []


@pytest.mark.slow
def test_an_environment_with_right_answers_is_learned_from():
    chain = ArithmeticChain()
    chance = pretrain(chain, steps=1, size="tiny", wrong_rate=0.0)
    learned = pretrain(
        chain, steps=150, batch_size=32, size="tiny", learning_rate=1e-2, wrong_rate=0.0
    )
    assert (
        success_rates(chance.model, chain)["greedy"]
        < success_rates(learned.model, chain)["greedy"]
        == 1
    )


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(ValueError, match="TokenMDP writes no demonstrations"):
        pretrain(TokenMDP(3, 4))
    with pytest.raises(ValueError, match="at least 1"):
        pretrain(TASK, steps=0)
    with pytest.raises(ValueError, match="one tier at a time"):
        success_rates(small_transformer(TASK, "tiny"), Arithmetic((2, 3), num_prompts=2))


def test_success_rates_estimate_what_enumeration_says():
    chain = ArithmeticChain()  # base 3, one digit, two operations: 8**4 answers
    per_prompt = []
    for i in range(len(chain.prompts())):
        tables, number = exact.random_reference(chain.vocab_size, chain.horizon, seed=i), 0
        for t, token in enumerate(
            chain.demonstration(i) if i != 1 else []
        ):  # all but one are mostly right
            tables[t][number] = np.log(np.where(np.arange(chain.vocab_size) == token, 0.79, 0.03))
            number = number * chain.vocab_size + int(token)
        per_prompt.append(tables)
    policy = TabularLM.from_tables(chain, per_prompt)
    exactly, best = [], []
    for i in range(len(chain.prompts())):
        tables = tabulate(policy, chain, i)
        tree = exact.enumerate_tree(chain, tables, i)
        exactly.append(float(np.exp(tree.prefix_logps[-1]) @ tree.rewards))
        number = 0
        for table in tables:
            number = number * chain.vocab_size + int(table[number].argmax())
        best.append(tree.rewards[number])
    rates = success_rates(policy, chain, samples=2000)
    assert rates["sampled"] == pytest.approx(
        np.mean(exactly), abs=4 * (np.mean(exactly) / 8000) ** 0.5
    )
    assert rates["greedy"] == np.mean(best) == 0.75


def test_the_shipped_checkpoint_has_the_habit_of_its_demonstrations():
    recipe = json.loads((CHECKPOINTS / "arithmetic" / "recipe.json").read_text())
    model, chain = load_checkpoint(), ArithmeticChain(2, 10, 2, num_prompts=300, prompt_seed=11)
    mass = {"right": [], "habit": []}
    for i in range(300):
        start, first = int(chain.question(i)[:2]), int(chain.question(i)[2:4])
        right, digit = start + first, start % 10
        if first > 0:
            habit = right - 10 if digit + first > 9 else right
        else:
            habit = start - digit + (-first - digit) if -first > digit else right
        if habit == right or min(right, habit) < 10:
            continue
        for name, total in (("right", right), ("habit", habit)):
            answer = torch.tensor([[int(c) for c in str(total)] + [chain.vocabulary.index(";")]])
            with torch.no_grad():
                logps = next_token_logps(model, chain, answer, i)[0, :-1].gather(1, answer.T)
            mass[name].append(float(logps.sum().exp()))
    right, habit = np.mean(mass["right"]), np.mean(mass["habit"])
    assert right + habit > 0.9  # it can calculate
    assert habit > right  # so that its greedy answer is wrong, and there is something to mend
    assert abs(habit - recipe["wrong_rate"]) < 0.1


def test_the_shipped_checkpoint_leaves_room_and_is_as_good_as_its_recipe_says():
    recipe = json.loads((CHECKPOINTS / "arithmetic" / "recipe.json").read_text())
    model = load_checkpoint()
    assert sum(p.numel() for p in model.parameters()) == recipe["parameters"]
    rates = success_rates(model, Arithmetic((2,), num_prompts=60, split="test"), samples=4, seed=1)
    stated = recipe["right_answers"]["2"]
    assert abs(rates["sampled"] - stated["sampled"]) < 4 * (
        rates["sampled_error"] + stated["sampled_error"]
    )
    assert 0.3 < recipe["right_answers"]["4"]["sampled"] < stated["sampled"] < 0.7
