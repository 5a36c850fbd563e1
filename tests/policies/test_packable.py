"""A model is looked at once, and false neighbours of packed rows are seen."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.policies.packable import as_known, takes_packed_rows
from gnivo_edu.policies.packed import Packed
from tests.policies.prompts import Counting

MODELS = ["llama", "gpt2", "gpt_neox", "qwen2"]


@pytest.mark.parametrize("beginning", [False, True])
@pytest.mark.parametrize("family", MODELS)
def test_families_that_take_a_mask_and_positions(family: str, beginning: bool) -> None:
    assert takes_packed_rows(tiny_model(family), beginning)


def test_a_window_takes_rows_but_no_beginning() -> None:
    model = tiny_model("mistral", sliding_window=64)  # its cache keeps what is in the window
    assert takes_packed_rows(model)
    assert not takes_packed_rows(model, beginning=True)


@pytest.mark.parametrize("family", MODELS)
def test_a_beginning_that_is_a_constant_is_seen(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Packed._begun

    def constant(rows: Packed, backbone: Any) -> Any:
        with torch.no_grad():
            return begun(rows, backbone)

    monkeypatch.setattr(Packed, "_begun", constant)
    model = tiny_model(family)
    assert takes_packed_rows(model)
    assert not takes_packed_rows(model, beginning=True)


def test_a_beginning_that_answers_do_not_see_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = Packed.mask

    def hidden(rows: Packed) -> Tensor:
        visible = mask(rows)
        visible[..., : len(rows.beginning)] = False
        return visible

    monkeypatch.setattr(Packed, "mask", hidden)
    model = tiny_model("llama")
    assert takes_packed_rows(model)
    assert not takes_packed_rows(model, beginning=True)


@pytest.mark.parametrize("family", ["bloom", "mpt", "mamba2", "rwkv", "bart", "qwen3_next"])
def test_families_that_do_not(family: str) -> None:
    assert not takes_packed_rows(tiny_model(family))


@pytest.mark.parametrize("family", MODELS)
def test_answers_that_see_each_other_are_seen(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def causal(rows: Packed) -> Tensor:
        length = rows.ids.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        return mask.expand(len(rows.ids), 1, length, length)

    monkeypatch.setattr(Packed, "mask", causal)
    assert not takes_packed_rows(tiny_model(family))


@pytest.mark.parametrize("family", MODELS)
def test_positions_that_count_the_whole_row_are_seen(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, mask = Packed.states, Packed.mask

    def counted(rows: Packed, backbone: Any) -> Tensor:
        visible = mask(rows)
        with monkeypatch.context() as patch:
            patch.setattr(Packed, "mask", lambda rows: visible)
            columns = torch.arange(rows.ids.shape[1]).expand_as(rows.ids)
            return states(dataclasses.replace(rows, positions=columns), backbone)

    monkeypatch.setattr(Packed, "states", counted)
    assert not takes_packed_rows(tiny_model(family))


def test_a_gradient_that_is_lost_on_the_way_to_the_prompt_is_seen() -> None:
    model = tiny_model("llama")

    def cut(module: Any, args: Any, out: Tensor) -> Tensor:
        # Only packed rows are longer than six tokens: the prompt's keys are constants there.
        if out.shape[1] <= 6:
            return out
        return torch.cat([out[:, :4].detach(), out[:, 4:]], 1)

    model.model.layers[0].self_attn.k_proj.register_forward_hook(cut)
    assert not takes_packed_rows(model)


def test_states_that_are_shifted_are_seen_though_no_gradient_is() -> None:
    model = tiny_model("llama")
    model.model.norm.register_forward_hook(
        lambda module, args, out: out + 1e-3 * (out.shape[1] > 6)  # of packed rows alone
    )
    assert not takes_packed_rows(model)


def test_a_model_is_looked_at_once_and_its_copies_are_as_it_is() -> None:
    model = tiny_model("llama")
    assert takes_packed_rows(model)
    other = copy.deepcopy(model)
    counts = [Counting(x.model) for x in (model, other)]
    as_known(other, model)
    assert (takes_packed_rows(model), takes_packed_rows(other)) == (True, True)
    assert [count.shapes for count in counts] == [[], []]
    takes_packed_rows(model.double())  # in another precision it is looked at again
    assert counts[0].shapes


def test_looking_leaves_nothing_behind() -> None:
    model = tiny_model("gpt2").train()
    for name, p in model.named_parameters():
        p.requires_grad_("ln_f" in name)
    state = torch.get_rng_state()
    with torch.inference_mode():
        assert takes_packed_rows(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert not model.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("copied", [2**30, 0])
def test_half_precision_is_looked_at_in_a_copy_or_as_it_is(
    copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnivo_edu.policies.one_law.COPIED_BYTES", copied)
    assert takes_packed_rows(tiny_model("llama").to(torch.bfloat16))
    assert not takes_packed_rows(tiny_model("mamba2").to(torch.bfloat16))


def test_few_positions_hold_no_packed_row() -> None:
    assert not takes_packed_rows(tiny_model("gpt2", n_positions=5, max_position_embeddings=5))
    assert takes_packed_rows(tiny_model("gpt2", n_positions=6, max_position_embeddings=6))
