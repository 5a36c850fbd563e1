"""TabularLM: a causal language model whose parameters are one row of logits per prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

from gnivo_edu.exact import Array, random_reference, tree_size, uniform_reference
from toy_envs import TokenMDP

MAX_BYTES = 2**30


class TabularConfig(PreTrainedConfig):
    """Size of a table: `num_actions` V, `horizon` T, `eos_token_id` (an action, or None), `prompts`
    [N, P].

    Beside the actions 0..V-1 the vocabulary holds `bos_token_id` = V and `pad_token_id` = V + 1, so
    that `vocab_size`, the width of the logits, is V + 2.
    """

    model_type = "tabular-lm"

    num_actions: int = 2
    horizon: int = 1
    eos_token_id: int | None = None
    prompts: list[list[int]] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.vocab_size = self.num_actions + 2
        self.bos_token_id, self.pad_token_id = self.num_actions, self.num_actions + 1
        self.prompts = self.prompts or [[self.bos_token_id]]
        self.use_cache = False
        super().__post_init__(**kwargs)

    @property
    def num_prefixes(self) -> int:
        """Prefixes of 0..T-1 tokens: rows per prompt."""
        return sum(self.num_actions**t for t in range(self.horizon))


class TabularLM(PreTrainedModel, GenerationMixin):
    """A policy on a finite token MDP, exactly: `logits` [N, prefixes, V], one free row per prompt
    and prefix.

    Rows of one prompt: by length of the prefix t = 0..T-1, then by its base-V number, first token
    most significant. It is called, sampled (`generate`), saved and loaded as every Hugging Face
    causal LM is; there is no cache to keep. float64 unless told. The logits of BOS and PAD are
    -inf. A finished prefix puts all mass on the end-of-sequence token; positions inside the prompt,
    beyond the horizon, or after a token that is no action are uniform over the actions.

    >>> policy = TabularLM.from_mdp(TokenMDP(2, 3))
    >>> policy(input_ids=torch.tensor([[2, 0, 1]])).logits.softmax(-1)[0, -1]
    tensor([0.5000, 0.5000, 0.0000, 0.0000], dtype=torch.float64, grad_fn=<SelectBackward0>)
    """

    config_class = TabularConfig
    base_model_prefix = "model"
    _supports_sdpa = True  # it has no attention, so any kind that a caller asks for will do
    config: TabularConfig
    logits: torch.nn.Parameter
    prompts: Tensor

    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config)
        prompts = torch.tensor(config.prompts)
        shape = (len(prompts), config.num_prefixes, config.num_actions)
        _check_bytes(*shape)
        dtype = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float64
        self.logits = torch.nn.Parameter(torch.zeros(shape, dtype=dtype))
        self.register_buffer("prompts", prompts, persistent=False)
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Rows start at zero, the uniform policy."""
        if module is self:
            torch.nn.init.zeros_(self.logits)
            self.prompts.copy_(torch.tensor(self.config.prompts))

    @classmethod
    def from_tables(
        cls, mdp: TokenMDP, tables: Sequence[Any], dtype: torch.dtype = torch.float64
    ) -> TabularLM:
        """The policy of these tables: one list of [V**t, V] log-probabilities for all prompts, or
        one per prompt.

        Raises ValueError on another number or shape of tables, and on rows that do not sum to one.
        """
        prompts = mdp.prompts()
        per_prompt = [tables] * len(prompts) if np.ndim(tables[0][0]) == 1 else list(tables)
        if len(per_prompt) != len(prompts):
            raise ValueError(
                f"got tables for {len(per_prompt)} prompts; the environment has {len(prompts)}"
            )
        policy = cls(
            TabularConfig(
                num_actions=mdp.vocab_size,
                horizon=mdp.horizon,
                eos_token_id=mdp.eos_token_id,
                prompts=prompts.tolist(),
                dtype=dtype,
            )
        )
        rows = [torch.from_numpy(_rows(of_prompt, mdp)) for of_prompt in per_prompt]
        policy.logits.data.copy_(torch.stack(rows))
        return policy

    @classmethod
    def from_mdp(
        cls, mdp: TokenMDP, seed: int | None = None, dtype: torch.dtype = torch.float64
    ) -> TabularLM:
        """The environment's own reference where it states one, else the uniform policy; random
        logits with a seed.
        """
        V, T = mdp.vocab_size, mdp.horizon
        prompts = range(len(mdp.prompts()))
        # Before a table is made for each prompt.
        _check_bytes(len(prompts), tree_size(V, T - 1).prefixes, actions=V)
        if seed is None:
            tables = [mdp.reference(i) or uniform_reference(V, T) for i in prompts]
        else:
            tables = [random_reference(V, T, seed=seed + i) for i in prompts]
        return cls.from_tables(mdp, tables, dtype=dtype)

    def forward(
        self,
        input_ids: Int[Tensor, "B L"],
        attention_mask: Int[Tensor, "B L"] | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Logits [B, L, V + 2] of the next token at every position.

        Each row holds a prompt of the configuration, from its first BOS on, and a prefix; what
        stands before is padding. Raises ValueError on a prompt that the table does not know.
        """
        config, device = self.config, input_ids.device
        V, T = config.num_actions, config.horizon
        P, L = self.prompts.shape[1], input_ids.shape[1]
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask[:, :L] == 0, config.pad_token_id)
        start, prompt = self._find_prompts(input_ids)

        # Aligned at the end of the prompt: the number and the state of the prefixes of t = 0..T-1
        # tokens.
        at = start[:, None] + torch.arange(P, P + T - 1, device=device)
        tokens = input_ids.gather(1, at.clamp(max=L - 1)).masked_fill(at >= L, config.pad_token_id)
        number = torch.zeros_like(start)
        numbers = [number]
        for t in range(T - 1):
            number = number * V + torch.where(tokens[:, t] < V, tokens[:, t], 0)
            numbers.append(number + sum(V**d for d in range(t + 1)))
        ended = _seen(tokens == config.eos_token_id) if config.eos_token_id is not None else None
        rows = torch.nn.functional.embedding(
            torch.stack(numbers, 1) + prompt[:, None] * config.num_prefixes,
            self.logits.flatten(0, 1),
        )
        rows = rows.masked_fill(_seen(tokens >= V)[..., None], 0.0)
        if ended is not None:
            absorbing = torch.full((V,), -torch.inf, dtype=rows.dtype, device=device)
            absorbing[config.eos_token_id] = 0.0
            rows = torch.where(ended[..., None], absorbing, rows)

        # Back to the positions of the input: row T is the uniform one.
        rows = torch.cat([rows, rows.new_zeros(len(rows), 1, V)], 1)
        row = torch.arange(L, device=device) - (start + P - 1)[:, None]
        row = torch.where((row >= 0) & (row < T), row, T)
        logits = rows.gather(1, row[..., None].expand(-1, -1, V))
        return CausalLMOutput(logits=torch.nn.functional.pad(logits, (0, 2), value=-torch.inf))

    def _find_prompts(self, input_ids: Tensor) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
        """Column of the first BOS, and which prompt starts there (an input may stop inside its
        prompt).
        """
        is_bos = input_ids == self.config.bos_token_id
        start = is_bos.int().argmax(1)
        at = start[:, None] + torch.arange(self.prompts.shape[1], device=input_ids.device)
        missing = at >= input_ids.shape[1]
        read = input_ids.gather(1, at.clamp(max=input_ids.shape[1] - 1))
        same = ((read[:, None] == self.prompts) | missing[:, None]).all(-1)
        same &= is_bos.any(1, keepdim=True)
        if not bool(same.any(1).all()):
            row = int((~same.any(1)).int().argmax())
            raise ValueError(
                f"row {row} of input_ids does not start with a prompt of this table, which has "
                f"{len(self.prompts)} of {self.prompts.shape[1]} tokens, "
                f"each starting with {self.config.bos_token_id}"
            )
        return start, same.int().argmax(1)


def _check_bytes(prompts: int, prefixes: int, actions: int) -> None:
    size = 8 * prompts * prefixes * actions
    if size > MAX_BYTES:
        raise ValueError(
            f"a table of {_count(prefixes)} prefixes for {prompts} prompts takes "
            f"{_count(size >> 20)} MiB: take a smaller vocabulary or horizon, or a transformer"
        )


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"about 1e{len(str(number)) - 1}"


def _seen(where: Tensor) -> Tensor:
    """[B, T] from [B, T-1]: whether one of the first t entries is true, t = 0..T-1."""
    return torch.nn.functional.pad(where.cumsum(1) > 0, (1, 0), value=False)


def _rows(tables: Sequence[Any], mdp: TokenMDP) -> Array:
    """Checked tables as rows [prefixes, V]; rows of finished prefixes, which are never read, are
    zero.
    """
    V = mdp.vocab_size
    if len(tables) != mdp.horizon:
        raise ValueError(f"got {len(tables)} tables; one per step is needed: {mdp.horizon}")
    rows = []
    finished = np.zeros(1, dtype=bool)  # which prefixes of t tokens have ended
    for t, given in enumerate(tables):
        table = np.array(given, dtype=np.float64)
        if table.shape != (V**t, V):
            raise ValueError(f"table {t} must be {(V**t, V)}, got {table.shape}")
        table[finished] = 0.0
        total = np.exp(table).sum(1)
        if not (finished | (np.abs(total - 1) < 1e-9)).all():
            raise ValueError(f"a row of table {t} does not sum to one: give log-probabilities")
        rows.append(table)
        finished = (finished[:, None] | (np.arange(V) == mdp.eos_token_id)).ravel()
    return np.concatenate(rows)


AutoConfig.register("tabular-lm", TabularConfig, exist_ok=True)
AutoModelForCausalLM.register(TabularConfig, TabularLM, exist_ok=True)
