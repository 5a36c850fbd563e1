"""What a run will take, from its configuration: no weights are read, and nothing is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gnivo_edu import objectives, tasks
from gnivo_edu.machine import pick_device
from gnivo_edu.policies.budget import (
    DRAWN_BYTES,
    HOLES_ADAPTERS,
    HOLES_BF16,
    RUNTIME,
    RUNTIME_BF16,
    WORD_BYTES,
    Budget,
    Phase,
    chunk_bytes,
    drawing_work,
    head_work,
    measured_speed,
)
from gnivo_edu.policies.cached_rows import prompts_of
from gnivo_edu.policies.decoder import decoder_of
from gnivo_edu.policies.footprint import Shapes, Work
from gnivo_edu.policies.loading import load_config, load_words
from gnivo_edu.policies.packed import Answers, best_layout
from gnivo_edu.policies.recompute import recompute_layers
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.sampler import FRESH
from gnivo_edu.training.settings import check_settings, needs
from gnivo_edu.training.setup import DTYPES, SAVED, with_adapters


def estimate(config: TrainConfig) -> Budget:
    """Memory beyond the imports, by part and phase, and a rough time of a run.

    Counted from the model's configuration, its layers run once on tensors without numbers
    (`policies.footprint`), the longest prompt of the task and answers as long as its horizon:
    weights, the reference (of a run with adapters they share what is not trained), gradients and
    moments, the critic, activations of a micro-batch with its answers packed as they will be, keys
    and values while answers are drawn, chunks of logits. Time from products, bytes and calls at
    what this machine does of each: half or twice as long is no surprise.

    Answers that end early take less, and a model that takes no packed rows takes more. What the
    allocator keeps is guessed from what was measured. Raises ValueError, in one line, on settings
    that do not fit and on a model without layers, such as "table".
    """
    return _Run(config).budget()


class _Run:
    """A run's sizes, in bytes."""

    def __init__(self, config: TrainConfig) -> None:
        if config.model == "table":
            raise ValueError(
                "a table is as large as its task: there is nothing to estimate, it takes a row of "
                "numbers for each prefix"
            )
        self.config = config
        objective = objectives.get(config.objective)
        self.needs = needs(objective, config.objective_options, group_size=config.group_size)
        check_settings(config, self.needs, world=1)
        dtype = DTYPES[config.precision]
        self.bf16 = config.precision == "bf16"
        self.itemsize = dtype.itemsize
        model = load_config(config.model)
        words = load_words(config.model)
        self.libraries = RUNTIME + RUNTIME_BF16 * self.bf16 + WORD_BYTES * _count(words)
        self.task = tasks.get(config.task, words, **config.task_options)
        prompts, mask = (x.numpy() for x in prompts_of(self.task))
        self.prompt, self.horizon = int(mask.sum(1).max()), int(self.task.horizon)
        every = np.arange(len(prompts))
        self.shared = Answers(
            prompts=prompts, mask=mask, tokens=prompts, lengths=every, owner=every
        ).shared

        def adapted(policy: Any) -> Any:
            policy = with_adapters(policy, config) if config.lora_rank else policy
            if config.gradient_checkpointing:
                recompute_layers(policy)
            return policy

        self.shapes = Shapes(model, dtype=dtype, bf16=self.bf16, adapt=adapted)
        self.model = model
        self.of_file = getattr(model, "dtype", None) or torch.float32
        self.actions = int(self.task.vocab_size)
        self.head: Any = self.shapes.head.weight
        self.answers = config.prompts_per_step * config.group_size
        self.micro = min(config.micro_batch or self.answers, self.answers)
        self.parts = -(-self.answers // self.micro)

    def budget(self) -> Budget:
        """All phases."""
        config = self.config
        phases = (self._loading(), self._drawing(), self._learning(), self._saving())
        width = self.head.shape[1]
        length = self.micro * min(self.horizon, 64)
        speed = measured_speed(width, rows=min(length, 1024), bf16=self.bf16)
        adapters = f", adapters of rank {config.lora_rank}" if config.lora_rank else ""
        about = (
            f"{config.model} in {config.precision}{adapters}: {self.answers} answers of "
            f"{self.horizon} tokens to prompts of {self.prompt}, {self.micro} at a time"
        )
        return Budget(about, phases, speed, steps=config.steps)

    def _loading(self) -> Phase:
        weights = self.shapes.weights
        file = 0
        if self.of_file.itemsize != self.itemsize:  # else its pages become the weights
            file = weights * self.of_file.itemsize // self.itemsize
        return Phase("loading", {"weights": weights, "copies": file, "libraries": self.libraries})

    def _standing(self) -> dict[str, int]:
        """What is there all the time, from the second update on."""
        config, trained = self.config, self.shapes.trained
        moved = config.reference == "refreshed" or (
            config.reference == "sampler" and "policy_kl" in self.needs
        )
        critic = 0
        if self._has_critic and config.critic == "network":
            critic = trained - (0 if config.lora_rank or self._tied else self.head.nbytes)
        moments = 2 if config.optimizer == "adamw" else 0
        return {
            "weights": self.shapes.weights,
            # The initial model, and the copy that moves on.
            "reference": trained * (1 + moved),
            "critic": critic,
            "moments": moments * (trained + critic),
            "gradients": trained + critic,
        }

    @property
    def _has_critic(self) -> bool:
        return bool({"values", "log_z"} & self.needs)

    @property
    def _tied(self) -> bool:
        embedding: Any = self.shapes.model.get_input_embeddings()
        return embedding.weight is self.head

    def _drawing(self) -> Phase:
        config, shapes = self.config, self.shapes
        counts = config.counts
        rows = config.prompts_per_step * sum(counts.get(name, 0) for name in FRESH)
        works: list[Work] = []
        cache = logits = 0
        if rows:
            prompts, of_prompts, _ = shapes.prompts(config.prompts_per_step, self.prompt)
            of_token = of_prompts / (config.prompts_per_step * self.prompt)
            shared = not self.bf16 and decoder_of(shapes.model) is not None
            length = self.horizon if shared else self.prompt + self.horizon
            cache = of_prompts + int(rows * length * of_token)
            logits = rows * self.actions * DRAWN_BYTES
            cache = max(cache + logits, prompts.peak) - logits
            token = shapes.token(rows, self.prompt + self.horizon // 2)
            law = drawing_work(rows, self.actions, width=self.head.shape[1])
            works = [prompts, *(x.times(self.horizon) for x in (token, law))]
        parts = {"keys and values": cache, "logits": logits}
        if config.reference != "sampler":
            scoring, more = self._scored(arrays=2)
            works += [x.times(self.parts) for x in more]
            if sum(scoring.values()) > sum(parts.values()):
                parts = scoring
        return self._phase("drawing", parts, works)

    def _scored(self, arrays: int) -> tuple[dict[str, int], list[Work]]:
        """A micro-batch scored without gradient."""
        rows, length, masked = self._layout()
        forward = self.shapes.forward(rows, length, masked=masked)
        logits = self._chunk(arrays)
        parts = {"activations": max(forward.peak - logits, forward.kept), "logits": logits}
        return parts, [forward, self._head_work(1)]

    def _chunk(self, arrays: int) -> int:
        tokens = self.micro * self.horizon
        return chunk_bytes(tokens, self.actions, arrays=arrays, itemsize=self.itemsize)

    def _head_work(self, products: int) -> Work:
        tokens, width = self.micro * self.horizon, self.head.shape[1]
        return head_work(tokens, self.actions, width=width, products=products)

    def _learning(self) -> Phase:
        """An update on micro-batches; and the KL to the initial model, measured beside its
        gradient at the steps that report.
        """
        config = self.config
        kl = "policy_kl" in self.needs or config.kl_to_initial > 0
        rows, length, masked = self._layout()
        graph, through = self.shapes.backward(rows, length, masked=masked)
        _, scored = self._scored(arrays=3 if kl else 2)
        of_head = self.head.nbytes if self.head.requires_grad else 0
        several = self.parts > 1
        # With several micro-batches the coefficients are known and the logits are made once; one
        # is scored with its graph, with its entropy.
        arrays = 1 if several else 2
        logits = self._chunk(3 if kl else arrays)
        activations = graph.kept
        beside = max(logits + of_head, through.peak - graph.kept + of_head)
        if config.critic == "network" and self._has_critic:
            activations += graph.kept
        measuring, more = self._scored(arrays=3)
        # Chunks of logits are large blocks, which find no room where activations were.
        share = max(HOLES_ADAPTERS * (config.lora_rank > 0), HOLES_BF16 * self.bf16)
        parts = {
            "activations": activations,
            "holes": int(share * activations),
            "logits": max(beside, sum(measuring.values())),
        }
        products = 3 if of_head else 2
        works = [x.times(self.parts) for x in (through, self._head_work(products))]
        if several:
            works += [x.times(self.parts) for x in scored]
        if kl:
            works += [x.times(self.parts * (1 + several)) for x in scored]
        works += [
            x.times(2 * self.parts / min(config.completions_every, config.steps)) for x in more
        ]
        trained = self.shapes.trained
        works += [Work(moved=12 * trained)]
        return self._phase("learning", parts, [x.times(config.inner_steps) for x in works])

    def _layout(self) -> tuple[int, int, bool]:
        """Rows of a micro-batch and their length, and whether they are packed."""
        micro, written = self.micro, self.horizon
        ones = np.ones((micro, 1), dtype=np.int64)
        answers = Answers(
            prompts=np.broadcast_to(ones, (micro, self.prompt)),
            mask=np.ones((micro, self.prompt), dtype=bool),
            tokens=np.broadcast_to(ones, (micro, written)),
            lengths=np.full(micro, written),
            owner=np.arange(micro) // self.config.group_size,
        )
        half = self.bf16 and pick_device().type == "cpu"
        one = micro <= self.config.group_size
        shared = 0 if self.config.gradient_checkpointing else self.shared
        shared = self.prompt - 1 if one and shared else shared
        config = self.model.get_text_config()
        layout = None if half else best_layout(answers, config, shared=shared)
        if layout is None:
            return micro, self.prompt + written - 1, False
        row, first = answers.rows(layout.most)
        own = self.prompt - layout.shared + int(np.bincount(row).max()) * (written - 1)
        # What all prompts begin with is run once: as if each row held its share of it.
        return len(first), own + layout.shared // len(first), True

    def _saving(self) -> Phase:
        """The trained model written: adapters merged into a copy, and a copy in the precision of
        the files.
        """
        config, weights = self.config, self.shapes.weights
        copies = weights if config.lora_rank else 0
        saved = SAVED.get(config.save_precision, self.of_file)
        if config.precision == "float64" and config.save_precision == "own":
            saved = torch.float64
        if saved.itemsize != self.itemsize:
            copies += weights * saved.itemsize // self.itemsize
        return self._phase("saving", {"copies": copies}, [])

    def _phase(self, name: str, parts: dict[str, int], works: list[Work]) -> Phase:
        return Phase(name, {**self._standing(), **parts, "libraries": self.libraries}, tuple(works))


def _count(words: Any) -> int:
    """Tokens of a tokenizer; none without one."""
    return 0 if words is None else len(words)
