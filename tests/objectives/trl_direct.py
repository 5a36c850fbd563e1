"""TRL's own trainers on a batch of ours: their sampling, networks and tokenizer are replaced, their
arithmetic is not.

A trainer is made without `__init__`; what that would copy from the configuration is read from the
configuration, so every setting that a test does not name has TRL's default. The last token of a
prompt is the number of its row: however TRL shuffles and splits the rows, their log-probabilities
are found again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

NORMALISERS = {"grpo": "seq-mean-token-mean", "bnpo": "token-mean", "dapo": "token-mean"}
NORMALISERS["dr_grpo"] = "seq-mean-token-sum-norm"
Record = dict[str, Tensor]


@dataclass
class Given:
    """What TRL gave: losses as returned, one per micro-batch, d(their sum)/d log-probs, advantages,
    logged metrics.
    """

    losses: list[float]
    gradient: Tensor
    advantages: Tensor
    metrics: dict[str, list[float]]


def ragged_records() -> Iterator[Record]:
    """Off-policy batches with lengths from 1, finite junk in the padding, ratios far out of the
    clip range, and ties.

    Rewards are multiples of 1/64: TRL takes them through float32, which must not round them.
    """
    for seed, (N, K, T) in enumerate([(1, 2, 3), (2, 3, 5), (4, 2, 4), (2, 4, 7), (6, 6, 6)]):
        g = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, T + 1, (N, K), generator=g)
        lengths[0, 0] = 1
        record: Record = {"mask": torch.arange(T) < lengths[..., None]}
        record["behaviour_logps"] = -3 * torch.rand(N, K, T, generator=g, dtype=torch.float64) - 4
        for name, spread in (("policy_logps", 0.45), ("reference_logps", 0.5)):
            noise = torch.randn(N, K, T, generator=g, dtype=torch.float64)
            record[name] = record["behaviour_logps"] + spread * noise
        record["rewards"] = torch.randint(-64, 65, (N, K), generator=g).double() / 64
        if seed % 2 == 0:
            record["rewards"][-1] = 0.25  # a tied group
        yield record


@contextmanager
def float64() -> Iterator[None]:
    """TRL takes the default dtype for rewards, and for Bessel's factor in its standard
    deviations.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def one_process() -> SimpleNamespace:
    """What the trainers ask of accelerate's Accelerator, for one process on the CPU."""
    return SimpleNamespace(
        device=torch.device("cpu"),
        num_processes=1,
        process_index=0,
        is_main_process=True,
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        reduce=lambda x, reduction: x,
        backward=lambda loss: loss.backward(),
    )


def without_init(trainer_class: type, config_class: type, record: Record, **settings: Any) -> Any:
    """A trainer whose generation and log-probabilities are those of the record."""
    N, K, _ = record["mask"].shape
    config = config_class.__new__(config_class)  # the defaults are attributes of the class
    vars(config).update(settings, num_generations=K, report_to=[])
    lengths = record["mask"].sum(-1).flatten().tolist()
    # prompts of 1 to 3 tokens, so that TRL pads them on the left
    prompts = [[7] * (row % 3) + [row] for row in range(N * K)]
    tables = {"behaviour": record["behaviour_logps"], "reference": record.get("reference_logps")}
    tables["policy"] = record["policy_logps"].clone().requires_grad_()

    class Direct(trainer_class):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            return getattr(config, name)

        def _generate(self, *_: Any) -> tuple[Any, ...]:
            answers = [[5] * length for length in lengths]
            texts = [""] * len(answers)
            if trainer_class.__name__ == "RLOOTrainer":
                return prompts, answers, texts
            return prompts, answers, None, texts, None, {}, None, None

        def _get_per_token_logps_and_entropies(
            self,
            model: Any,
            input_ids: Tensor,
            attention_mask: Tensor,
            logits_to_keep: int,
            *_: Any,
            **__: Any,
        ) -> tuple[Tensor, Tensor, None]:
            rows = input_ids[:, -logits_to_keep - 1]
            logits = tables[model.name].flatten(0, 1)[rows, :logits_to_keep]
            return logits, torch.zeros_like(logits), None

    trainer = object.__new__(Direct)
    vars(trainer).update(
        args=config,
        accelerator=one_process(),
        model=model_named("behaviour"),
        ref_model=model_named("reference"),
        _tokenizer=SimpleNamespace(pad_token_id=0),
        pad_to_multiple_of=None,
        epsilon_low=config.epsilon,
        epsilon_high=config.epsilon if config.epsilon_high is None else config.epsilon_high,
        state=SimpleNamespace(global_step=0),
        reward_funcs=[
            lambda prompts, **_: [record["rewards"].flatten().tolist()[row] for row in prompts]
        ],
        reward_func_names=["reward"],
        reward_processing_classes=[None],
        reward_weights=torch.ones(1),
        environment_factories=None,
        environments=None,
        tools=None,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=config.gradient_accumulation_steps,
        _step=0,
        _buffered_inputs=None,
        _metrics={"train": defaultdict(list)},
        _logs=defaultdict(list, rewards=defaultdict(list), extra=defaultdict(list)),
        _pending_extra_logs=defaultdict(list),
        _pending_metrics=defaultdict(list),
    )
    return trainer, tables["policy"]


def model_named(name: str) -> torch.nn.Module:
    """Stands for a network; only its name is read."""
    model = torch.nn.Identity()
    model.name, model.is_gradient_checkpointing = name, False  # type: ignore[assignment]
    return model


def sampled_and_scored(
    trainer_class: type,
    config_class: type,
    record: Record,
    steps: int = 1,
    stored: bool = True,
    **settings: Any,
) -> Given:
    """One optimiser step of GRPO or RLOO: TRL's advantages, shuffle and split into `steps`, and
    each `compute_loss`.

    `stored`: the sampler's log-probabilities are kept. If not, GRPO takes the policy's own, without
    gradient."""
    N, K, _ = record["mask"].shape
    settings |= {
        "steps_per_generation": steps,
        "gradient_accumulation_steps": steps,
        "num_iterations": 1 + stored,
    }
    with float64(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # TRL's shuffle
        trainer, leaf = without_init(trainer_class, config_class, record, **settings)
        losses = []
        for trainer._step in range(steps):
            inputs = trainer._prepare_inputs([{"prompt": row} for row in range(N * K)])
            losses.append(trainer.compute_loss(model_named("policy"), inputs))
    torch.stack(losses).sum().backward()
    advantages = torch.tensor(trainer._logs["advantages"], dtype=torch.float64).view(N, K)
    return Given([x.item() for x in losses], leaf.grad, advantages, trainer._metrics["train"])


def preferred(
    trainer_class: type, config_class: type, record: Record, beta: float, **settings: Any
) -> Given:
    """One `training_step` of online DPO on the first two responses of each group."""
    N, K, T = record["mask"].shape
    config = config_class.__new__(config_class)
    vars(config).update(settings)
    order = torch.cat(
        [torch.arange(N) * K, torch.arange(N) * K + 1]
    )  # TRL: all first samples, then all second ones
    leaf = record["policy_logps"].clone().requires_grad_()
    mask = record["mask"].flatten(0, 1)[order].long()
    tables = {"policy": leaf, "reference": record["reference_logps"]}

    class Direct(trainer_class):  # type: ignore[misc]
        def _generate(self, *_: Any) -> tuple[Any, ...]:
            ids = torch.full((2 * N, T), 5)
            return ids[:, :1], torch.ones(2 * N, 1), ids, mask, None

        def _forward(self, model: Any, *_: Any) -> Tensor:
            return tables[model.name].flatten(0, 1)[order]

    trainer = object.__new__(Direct)
    rewards = record["rewards"].flatten()[order].tolist()
    vars(trainer).update(
        args=config,
        _beta=beta,
        accelerator=one_process(),
        model=model_named("policy"),
        ref_model=model_named("reference"),
        state=SimpleNamespace(global_step=0),
        eos_token_ids=[5],
        processing_class=SimpleNamespace(batch_decode=lambda ids, **_: [""] * len(ids)),
        reward_funcs=[lambda **_: rewards],
        reward_processing_classes=[None],
        reward_weights=None,
        stats=defaultdict(list),
    )
    with float64():
        loss = trainer.training_step(trainer.model, {"prompt": [""] * N})
    return Given([loss.item()], leaf.grad, torch.empty(0), trainer.stats)
