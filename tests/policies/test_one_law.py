"""The law that samples is the law that scores: models whose cache, padding or batch is another."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from gnivo_edu.bench.families import UnequalPrompts, law_gap
from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies import TabularLM, load_model, sample_completions, tree_from_model
from gnivo_edu.policies.cached_rows import Way
from gnivo_edu.policies.generation import behaviour_check
from gnivo_edu.policies.one_law import way_of
from gnivo_edu.policies.scoring import token_logps
from tests.policies.prompts import Counting
from toy_envs import TokenMDP

MAX = "sampling/sampling_logp_difference/max"


def way(family: str, padded: bool = True, **more: Any) -> Way:
    return way_of(tiny_model(family, **more), padded)


class Strange(GPT2LMHeadModel):
    """A GPT-2 whose logits depend on what they should not."""

    habit = ""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = super().forward(*args, **kwargs)
        if self.habit == "neighbours":
            out.logits = out.logits + out.logits.mean(0, keepdim=True)
        if self.habit == "future":
            out.logits = out.logits + out.logits.mean(1, keepdim=True)
        if self.habit == "chance":
            out.logits = out.logits + torch.rand_like(out.logits)
        return out


def strange(habit: str) -> Strange:
    torch.manual_seed(0)
    sizes = dict(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    model = Strange(GPT2Config(**sizes, initializer_range=0.5)).eval()
    model.habit = habit
    return model


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "mistral", "gemma3_text", "mamba2", "mixtral"])
def test_sound_models_keep_their_cache_and_their_padding(family: str) -> None:
    found = way(family)
    assert (found.cache, found.padding, found.together) == (True, True, True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_of_half_precision_is_no_other_law(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for copied in (2**30, 0):  # looked at in a copy of float32, and as they are
        monkeypatch.setattr("gnivo_edu.policies.one_law.COPIED_BYTES", copied)
        for family in ("qwen2", "llama", "gpt2"):
            assert way_of(tiny_model(family).to(dtype), padded=True) == Way()
    monkeypatch.undo()
    model = tiny_model("zamba2").to(dtype)
    assert not way_of(model).cache
    assert model.dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "cache", "padding"),
    [
        ("zamba2", False, True),  # its cached steps are another law
        ("minimax", False, True),  # its rows cannot be put in another order
        ("bamba", True, True),  # exact where positions are given
        ("bart", True, False),  # counts positions from the padding on
    ],
)
def test_what_samples_is_what_scores(family: str, cache: bool, padding: bool) -> None:
    model, task = tiny_model(family), UnequalPrompts()
    assert law_gap(model, task) < 1e-5
    found = way_of(model, padded=True)
    assert (found.cache, found.padding, found.together) == (cache, padding, True)
    drawn = sample_completions(model, task, 3, [0, 1, 2, 1])
    assert behaviour_check(model, task, drawn)[MAX] < 1e-5


def test_the_cache_of_bamba_is_wrong_without_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = tiny_model("bamba"), UnequalPrompts()
    wrong = Way(positions=False, padding=False)
    monkeypatch.setattr(
        "gnivo_edu.policies.generation.parts_of",
        lambda policy, lengths: [(wrong, part) for part in wrong.parts(lengths)],
    )
    assert behaviour_check(model, task, sample_completions(model, task, 4, [0]))[MAX] > 0.1


@torch.no_grad()
def test_positions_that_are_counted_by_ids_need_whole_rows() -> None:
    # A padding token that was drawn has no position of its own, and a cached step does not know.
    model = tiny_model("roberta")
    ids = torch.tensor([[5, 60, 7, 8]])
    start = model(ids[:, :3], use_cache=True).past_key_values
    step = model(ids[:, 3:], past_key_values=start).logits[:, -1]
    assert (step - model(ids).logits[:, -1]).abs().max() > 0.1
    assert not way_of(model).cache


def test_rows_that_see_each_other_are_run_one_by_one() -> None:
    model, task = strange("neighbours").double(), UnequalPrompts()
    assert not way_of(model).together
    drawn = sample_completions(model, task, 3, [0, 2, 1])
    assert behaviour_check(model, task, drawn)[MAX] < 1e-10
    one = TokenMDP(40, 4, eos_token_id=3)
    answers = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]]), torch.tensor([4, 4])
    both = token_logps(model, one, *answers)
    alone = [token_logps(model, one, *(x[i : i + 1] for x in answers)) for i in (0, 1)]
    torch.testing.assert_close(both, torch.cat(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize("habit", ["future", "chance"])
def test_a_model_without_a_law_is_refused_by_name(habit: str) -> None:
    task = UnequalPrompts()
    for draw in (lambda m: sample_completions(m, task, 2), lambda m: token_logps(m, *scored())):
        with pytest.raises(ValueError, match="Strange has no law of the next token") as error:
            draw(strange(habit))
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="BertLMHeadModel has no law"):
        way("bert", is_decoder=False)


def scored() -> tuple[TokenMDP, Tensor, Tensor]:
    return TokenMDP(40, 2), torch.tensor([[5, 6]]), torch.tensor([2])


def test_a_model_is_looked_at_once() -> None:
    model, task = tiny_model("qwen2"), UnequalPrompts()
    first = sample_completions(model, task, 2, [0, 1])
    counted = Counting(model)
    second = sample_completions(model, task, 2, [0, 1])
    assert len(counted.shapes) <= task.horizon
    assert torch.equal(first.tokens, second.tokens)
    way_of(model, padded=True)
    assert len(counted.shapes) <= task.horizon
    counted.shapes.clear()
    way_of(model.double())  # in another precision it is looked at again
    assert counted.shapes
    another = copy.deepcopy(model)
    counted = Counting(another)
    way_of(another)
    assert counted.shapes


def test_looking_moves_no_random_stream_and_no_mode() -> None:
    model = tiny_model("gpt2").train()
    state = torch.get_rng_state()
    precision = torch.get_float32_matmul_precision()
    assert way_of(model, padded=True) == Way()
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert torch.get_float32_matmul_precision() == precision


def test_few_positions_and_few_tokens_are_enough() -> None:
    for positions in (1, 2, 3, 4):
        config = GPT2Config(vocab_size=3, n_embd=8, n_layer=1, n_head=2, n_positions=positions)
        assert way_of(GPT2LMHeadModel(config).eval(), padded=True) == Way()
    assert way_of(TabularLM.from_mdp(TokenMDP(2, 2))) == Way()
    assert way_of(nn.Linear(2, 2)) == Way()


def test_a_broken_model_is_told_where_it_is_used_and_looked_at_again() -> None:
    model = tiny_model("zamba2")
    weight = model.lm_head.weight.detach().clone()
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="the policy gives nan"):
        sample_completions(model, UnequalPrompts(), 2)
    with torch.no_grad():
        model.lm_head.weight.copy_(weight)
    assert not way_of(model).cache


@pytest.mark.slow
def test_a_tree_is_that_of_whole_rows(shared_model: str) -> None:
    _, tokenizer = load_model(shared_model)
    for family in ("zamba2", "bamba"):
        model = tiny_model(family, vocab_size=512)
        tree, tables = tree_from_model(
            model, tokenizer, "Lily", top_k=2, horizon=3, reward=lambda texts: [0.0] * len(texts)
        )
        for number, ranks in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            ids = torch.tensor([tree.prompt_ids + tree.model_tokens(ranks)])
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, -1].double()
            plain = logits[torch.from_numpy(tree.token_ids[2][number])].log_softmax(0)
            torch.testing.assert_close(
                torch.from_numpy(tables[2][number]), plain, rtol=0, atol=1e-5
            )
