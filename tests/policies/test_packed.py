"""Answers behind one prompt see what they would see alone, and score and learn as they would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    GPTNeoConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3NextConfig,
)

from gnivo_edu.batch import GroupBatch
from gnivo_edu.bench.families import UnequalPrompts
from gnivo_edu.bench.tiny import tiny_model
from gnivo_edu.objectives import grpo
from gnivo_edu.policies import precise_norms, sample_completions, score_model
from gnivo_edu.policies.dense import FIELDS
from gnivo_edu.policies.packed import Answers, Layout, Packed, best_layout, packed_rows, reach_of
from gnivo_edu.policies.score_model import score_rows, two_pass_scorers, weighted_rows
from gnivo_edu.training.two_pass import two_pass_step
from tests.policies.head_laws import gap

FAMILIES = "llama qwen2 qwen3 mistral gpt2 gpt_neox phi olmo2 smollm3 granite stablelm opt"
# Their tiny configurations have windows of four tokens.
WINDOWS = ("mistral", "smollm3")
TASK = UnequalPrompts()
Packing = Callable[[bool | str], None]


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Packing:
    """Packed wherever it is exact, however little it saves; or never."""
    monkeypatch.setattr("gnivo_edu.policies.packed.SHARE", -1.0)
    monkeypatch.setattr("gnivo_edu.policies.packed.PRODUCTS", -1e12)
    monkeypatch.setattr("gnivo_edu.policies.packed.run_cost", lambda config: -1e12)

    def packs(wanted: bool | str) -> None:
        # Nothing is too little to save, so that what prompts share is computed once wherever it is
        # allowed.
        def choose(answers: Answers, config: Any, shared: int) -> Layout | None:
            once = shared if wanted == "beginning" else 0
            return best_layout(answers, config, shared=once) if wanted else None

        monkeypatch.setattr(score_model, "best_layout", choose)

    return packs


def double(family: str, seed: int = 0) -> Any:
    more = {"sliding_window": 4096} if family in WINDOWS else {}
    return precise_norms(tiny_model(family, seed=seed, **more).double()).eval()


class Counted:
    """How many tokens a model embeds."""

    def __init__(self, model: Any) -> None:
        self.tokens = 0
        model.get_input_embeddings().register_forward_hook(self)

    def __call__(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self.tokens += out.shape[:2].numel()


def given() -> tuple[Any, Tensor, Tensor, Tensor]:
    """Answers to prompts of unequal lengths, out of order, one prompt with a single answer."""
    generator = np.random.default_rng(3)
    tokens = torch.from_numpy(generator.integers(0, 40, (8, 6)))
    index = torch.tensor([1, 0, 1, 1, 0, 2, 0, 1])
    return TASK, tokens, torch.tensor([6, 2, 1, 4, 3, 5, 6, 6]), index


def some_answers(lengths: list[int], prompt: int = 10, owners: int = 1) -> Answers:
    count = len(lengths)
    return Answers(
        prompts=np.ones((count, prompt), dtype=np.int64),
        mask=np.ones((count, prompt), dtype=bool),
        tokens=np.ones((count, max(lengths)), dtype=np.int64),
        lengths=np.array(lengths),
        owner=np.arange(count) * owners // count,
    )


def most_of(answers: Answers, config: Any) -> int | None:
    layout = best_layout(answers, config)
    return None if layout is None else layout.most


def gradient(model: nn.Module, loss: Tensor) -> list[Tensor]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, slopes, strict=True)
    ]


@pytest.mark.parametrize("most", [None, 1, 2, 3])
def test_each_token_sees_its_prompt_and_its_own_answer(most: int | None) -> None:
    generator = np.random.default_rng(0)
    owner, prompt = np.array([1, 0, 1, 2, 1, 0, 1]), np.array([3, 5, 1])
    answers = Answers(
        prompts=generator.integers(0, 1000, (3, 5))[owner],
        mask=(np.arange(5) >= 5 - prompt[:, None])[owner],
        tokens=generator.integers(0, 1000, (7, 4)),
        lengths=np.array([4, 1, 3, 2, 4, 4, 1]),
        owner=owner,
    )
    rows = packed_rows(answers, torch.device("cpu"), Layout(most))
    visible, length = rows.mask()[:, 0], rows.ids.shape[1]
    places = iter(rows.places.tolist())
    for a, count in enumerate(answers.lengths):
        before = answers.prompts[a][answers.mask[a]].tolist()
        for t in range(count):
            r, place = divmod(next(places), length)
            seen = visible[r, place]
            assert rows.ids[r, seen].tolist() == before + answers.tokens[a, :t].tolist()
            assert rows.positions[r, seen].tolist() == list(range(len(before) + t))
    assert next(places, None) is None
    assert bool(visible.any(-1).all())  # padding too: a row that sees nothing would give nan
    counts = np.bincount(owner)
    assert len(rows.ids) == sum(-(-count // (most or 9)) for count in counts)


@pytest.mark.parametrize("most", [None, 1, 2])
def test_what_prompts_begin_with_stands_before_all_rows(most: int | None) -> None:
    prompts = np.array([[0, 7, 8, 1], [0, 0, 7, 8], [7, 8, 1, 2]])
    owner = np.array([0, 2, 1, 0])
    answers = Answers(
        prompts=prompts[owner],
        mask=(prompts > 0)[owner],
        tokens=np.arange(20, 32).reshape(4, 3),
        lengths=np.array([3, 1, 2, 3]),
        owner=owner,
    )
    assert answers.shared == 1  # of the prompt 7 8 the last token stays with its answers
    rows = packed_rows(answers, torch.device("cpu"), Layout(most, shared=1))
    assert rows.beginning.tolist() == [7]
    assert bool(rows.mask()[..., 0].all())
    visible, length = rows.mask()[:, 0, :, 1:], rows.ids.shape[1]
    places = iter(rows.places.tolist())
    for a, count in enumerate(answers.lengths):
        before = answers.prompts[a][answers.mask[a]].tolist()
        for t in range(count):
            r, place = divmod(next(places), length)
            seen = visible[r, place]
            assert [7, *rows.ids[r, seen].tolist()] == before + answers.tokens[a, :t].tolist()
            assert rows.positions[r, seen].tolist() == list(range(1, len(before) + t))


def test_a_beginning_is_computed_once_where_it_pays() -> None:
    small = LlamaConfig(hidden_size=64, num_hidden_layers=5)
    answers = some_answers([25] * 32, prompt=300, owners=4)  # every prompt is the same
    assert answers.shared == 299
    layout = best_layout(answers, small, shared=250)
    assert layout is not None
    assert layout.shared == 250
    assert best_layout(answers, small, shared=1) == best_layout(answers, small)
    one_each = some_answers([25] * 8, prompt=300, owners=8)
    assert best_layout(one_each, small) is None
    assert best_layout(one_each, small, shared=250) == Layout(1, shared=250)


@pytest.mark.parametrize("how", ["rows", "beginning"])
@pytest.mark.parametrize("family", FAMILIES.split())
def test_scores_and_gradients_are_those_of_rows_apart(
    family: str, how: str, packing: Packing, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, reference = double(family), double(family, seed=1)
    counted = Counted(model)
    weights = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coefficients = dict(zip(FIELDS, weights, strict=True))
    law: dict[str, Any] = {"reference": reference, "temperature": 0.7}
    begun, beginnings = Packed._begun, set[int]()

    def counts(rows: Packed, backbone: nn.Module) -> Any:
        beginnings.add(len(rows.beginning))
        return begun(rows, backbone)

    monkeypatch.setattr(Packed, "_begun", counts)
    results = []
    for packed in (False, how):
        packing(packed)
        score_rows(model, *given())  # looks at the model, if it has to
        beginnings.clear()
        counted.tokens = 0
        scores = score_rows(model, *given(), **law, read=lambda states: states.sum(-1))
        tokens = counted.tokens
        loss = sum((c * scores[name]).sum() for name, c in coefficients.items())
        once = gradient(model, loss + scores["values"].square().sum())
        known = gradient(model, weighted_rows(model, *given(), coefficients, **law))
        results.append((list(scores.values()), once, known, tokens))
    (values, once, known, apart), (packed_values, packed_once, packed_known, together) = results
    assert apart > 1.4 * together
    # Where a layer has a window, its cache is none that rows could share.
    assert (1 in beginnings) == (how == "beginning" and family != "mistral")
    assert gap(packed_values, values) < 1e-10
    assert gap(packed_once, once) < 1e-10 * max(float(g.abs().max()) for g in once)
    assert gap(packed_known, known) < 1e-10 * max(float(g.abs().max()) for g in known)


@pytest.mark.parametrize("family", ["bloom", "mamba", "gemma2", "roberta", "lfm2"])
def test_other_families_are_scored_as_before(family: str, packing: Packing) -> None:
    more = {"layer_types": ["conv", "full_attention"]} if family == "lfm2" else {}
    model = tiny_model(family, **more)  # the windows of Gemma 2 are of four tokens
    scores = []
    for packed in (False, True):
        packing(packed)
        try:
            scores.append(score_rows(model, *given())["policy_logps"])
        except ValueError as error:  # a head that is not known, with packed rows and without
            scores.append(torch.tensor(float(len(str(error)))))
    assert torch.equal(*scores)


@pytest.mark.parametrize("micro_batch", [None, 3, 4, 5])
def test_any_micro_batch_gives_one_gradient(micro_batch: int | None, packing: Packing) -> None:
    model = double("qwen2")
    samples = sample_completions(model, TASK, 4, [0, 1, 2])
    batch = GroupBatch(
        policy_logps=samples.logps,
        behaviour_logps=samples.logps,
        rewards=samples.rewards(TASK).double(),
        mask=samples.mask,
        truncated=samples.truncated,
    )
    results = []
    for packed, size in ((False, None), (True, micro_batch)):
        packing(packed)
        score, weighted_sum = two_pass_scorers(model, TASK, samples)
        model.zero_grad()
        two_pass_step(grpo, batch, score, size, weighted_sum=weighted_sum, scale="none")
        results.append([p.grad.clone() for p in model.parameters()])
    assert gap(*results) < 1e-10
    assert max(float(g.abs().max()) for g in results[0]) > 1e-3


def test_adapters_and_their_base_share_the_prompt(packing: Packing) -> None:
    peft = pytest.importorskip("peft", reason="needs peft, of the extra llm")
    adapters = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    model = peft.get_peft_model(double("llama"), adapters).double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.fill_(0.1)
    results = []
    for packed in (False, True):
        packing(packed)
        score_rows(model, *given())
        counted = Counted(model)
        logps = score_rows(model, *given())["policy_logps"]
        with model.disable_adapter(), torch.no_grad():
            plain = score_rows(model, *given())["policy_logps"]
        results.append(([logps, plain], gradient(model, logps.square().sum()), counted.tokens))
    assert results[0][2] > 1.4 * results[1][2]
    assert gap(results[0][0], results[1][0]) < 1e-10
    assert gap(results[0][1], results[1][1]) < 1e-10
    assert gap(results[0][0][:1], results[0][0][1:]) > 1e-3


def test_scores_are_the_same_bits_with_and_without_gradient(packing: Packing) -> None:
    packing(True)
    model = tiny_model("llama")
    with torch.no_grad():
        constant = score_rows(model, *given())["policy_logps"]
    assert torch.equal(constant, score_rows(model, *given())["policy_logps"].detach())


@pytest.mark.parametrize("half", ["weights", "autocast"])
def test_rows_stand_apart_in_half_precision_on_a_cpu(half: str, packing: Packing) -> None:
    model = double("llama").to(torch.bfloat16 if half == "weights" else torch.float32)
    counted, tokens = Counted(model), []
    for packed in (False, True):
        packing(packed)
        with torch.autocast("cpu", torch.bfloat16, enabled=half == "autocast"):
            score_rows(model, *given(), fields=("policy_logps",))  # looks at the model
            counted.tokens = 0
            score_rows(model, *given(), fields=("policy_logps",))
        tokens.append(counted.tokens)
    assert tokens[0] == tokens[1]
    packing(True)
    full = double("llama").float()
    score_rows(full, *given(), fields=("policy_logps",))
    counted = Counted(full)
    score_rows(full, *given(), fields=("policy_logps",))
    assert counted.tokens < tokens[0]


def test_dropout_is_drawn_as_before(packing: Packing) -> None:
    model = tiny_model("llama", attention_dropout=0.5).train()
    scores = []
    for packed in (False, True):
        packing(packed)
        torch.manual_seed(0)
        scores.append(score_rows(model, *given())["policy_logps"])
    assert torch.equal(*scores)


def test_rows_are_packed_where_it_pays() -> None:
    small = LlamaConfig(hidden_size=64, num_hidden_layers=5)
    long_prompts = some_answers([25] * 32, prompt=150, owners=4)
    assert most_of(long_prompts, small) == 8
    assert most_of(some_answers([25] * 32, prompt=1, owners=4), small) is None
    # All of these in one row would attend to too much, two to a row would repeat the prompt.
    wide = LlamaConfig(hidden_size=512, num_hidden_layers=5)
    assert most_of(some_answers([300] * 32, prompt=400), wide) == 4
    assert most_of(some_answers([3] * 32, prompt=400), small) == 32
    assert most_of(some_answers([25] * 32, prompt=150, owners=32), small) is None
    assert most_of(some_answers([3] * 4, prompt=3, owners=2), small) is None  # too little
    near = MistralConfig(hidden_size=64, num_hidden_layers=5, sliding_window=300)
    assert most_of(long_prompts, near) == 4
    near.sliding_window = 150
    assert most_of(long_prompts, near) is None


def test_a_mask_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    small = LlamaConfig(hidden_size=64, num_hidden_layers=5)
    answers = some_answers([25] * 32, prompt=150, owners=4)
    monkeypatch.setattr("gnivo_edu.policies.packed.MASK_ENTRIES", 4 * 342**2)
    assert most_of(answers, small) == 8
    monkeypatch.setattr("gnivo_edu.policies.packed.MASK_ENTRIES", 4 * 342**2 - 1)
    assert most_of(answers, small) is None


@pytest.mark.parametrize(
    ("config", "reach"),
    [
        (Qwen2Config(), float("inf")),
        (LlamaConfig(), float("inf")),
        (MistralConfig(), 4096),
        (GPTNeoConfig(), 256),
        (Qwen3NextConfig(), 0),
    ],
)
def test_how_far_layers_look_back(config: Any, reach: float) -> None:
    assert reach_of(config) == reach
