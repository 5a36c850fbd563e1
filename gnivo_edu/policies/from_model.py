"""A finite token MDP inside a real language model: the tree of its most probable tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from gnivo_edu.exact import Tables, check_size
from gnivo_edu.policies.cached_rows import Rows, check_angles, window_of
from gnivo_edu.policies.modes import evaluating
from gnivo_edu.policies.one_law import way_of
from toy_envs import TokenMDP

TextReward = Callable[[list[str]], ArrayLike]
MAX_BYTES = 2**29
MAX_ROWS = 1024


class TextTree(TokenMDP):
    """The `top_k` most probable tokens after every prefix of a language model, as a token MDP of
    ranks.

    Action r appends the token of rank r (0 is the most probable) at that prefix; there is no
    end-of-sequence token, so that the tree is full. `decode(prefix)` is the text of the
    continuation, `pieces(prefix)` that text token by token, `token_ids[t]` int64 [V**t, V] the
    model's tokens, `prompt` the text that is continued. `reward` takes a list of continuations to
    numbers. `reference()` is the model itself, renormalised over the kept tokens, and
    `kept_mass[t]` [V**t] what they have of its own probability after each prefix."""

    def __init__(
        self,
        tokenizer: Any,
        prompt: str,
        prompt_ids: list[int],
        token_ids: list[NDArray[np.int64]],
        tables: Tables,
        kept_mass: list[NDArray[np.float64]],
        reward: TextReward,
    ) -> None:
        super().__init__(vocab_size=token_ids[0].shape[1], horizon=len(token_ids))
        self.prompt, self.prompt_ids = prompt, prompt_ids
        self.token_ids, self.kept_mass = token_ids, kept_mass
        self._tokenizer = tokenizer
        self._tables = tables
        self._text_reward = reward

    def reference(self, prompt_index: int = 0) -> Tables:
        """The model's log-probabilities of the kept tokens, renormalised, [V**t, V], nats."""
        return [table.copy() for table in self._tables]

    def model_logps(self) -> list[NDArray[np.float64]]:
        """The model's own log-probability of each prefix, [V**t], t = 0..T, nats.

        That of the pruned reference, times the masses kept on the way: p(s_t) = pi_ref(s_t) m(s_0)
        ... m(s_{t-1}).
        """
        prefixes = [np.zeros(1)]
        for table, mass in zip(self._tables, self.kept_mass, strict=True):
            step = table + np.log(mass)[:, None]
            prefixes.append((prefixes[-1][:, None] + step).ravel())
        return prefixes

    def model_tokens(self, prefix: ArrayLike) -> list[int]:
        """The model's own token ids of a prefix of ranks; `bos_token_id` and `pad_token_id` are
        left out.
        """
        ranks = [r for r in np.asarray(prefix, np.int64).tolist() if r < self.vocab_size]
        ids = []
        number = 0  # of the prefix among those of its length, which is its row in the table
        for t, rank in enumerate(ranks):
            ids.append(int(self.token_ids[t][number, rank]))
            number = number * self.vocab_size + rank
        return ids

    def decode(self, tokens: ArrayLike) -> str:
        """Text that the ranks append to the prompt; a character that is not yet complete shows as
        U+FFFD.
        """
        return self.texts([self.model_tokens(tokens)])[0]

    def pieces(self, prefix: ArrayLike) -> list[str]:
        """Text that each token adds, together `decode(prefix)`; a character of several tokens is
        its last one's.
        """
        ids = self.model_tokens(prefix)
        texts = self.texts([ids[:t] for t in range(len(ids) + 1)])
        grown = [text.rstrip("\ufffd") for text in texts[:-1]] + texts[-1:]
        return [after[len(before) :] for before, after in pairwise(grown)]

    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        return self._text_reward(self.texts([self.model_tokens(row) for row in tokens]))

    def texts(self, ids: list[list[int]]) -> list[str]:
        """The text that each row of the model's tokens appends to the prompt."""
        # Decoded after the prompt, then cut: a token's leading space is lost where it comes first.
        # The prompt may end inside a character, which the continuation then completes.
        before, *texts = self._tokenizer.batch_decode(
            [self.prompt_ids + continuation for continuation in [[], *ids]],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return [text.removeprefix(before.rstrip("\ufffd")) for text in texts]


def tree_from_model(
    model: nn.Module,
    tokenizer: Any,
    prompt: str,
    top_k: int,
    horizon: int,
    reward: TextReward,
    *,
    use_cache: bool = True,
    max_bytes: int = MAX_BYTES,
) -> tuple[TextTree, Tables]:
    """The full tree of the `top_k` most probable tokens over `horizon` steps after a prompt, and
    its tables.

    Special tokens (and ids that the tokenizer does not have) are removed, then the `top_k` tokens
    at each prefix are kept; their logits are cast to float64 and renormalised. Returns `(mdp,
    tables)`: a `TextTree` of top_k ** horizon sequences, and log-probabilities [V**t, V], nats, t =
    0..horizon-1. `reward` takes a list of texts to numbers.

    Works for any causal LM on any device. The prompt is run once; each depth feeds one token per
    prefix and reuses the key-value cache of its parent, or runs whole rows where a cache gives
    another law (`way_of`), in micro-batches of about `max_bytes`. Raises ValueError on a size below
    1 or above what the vocabulary or the context window allows, and on an empty prompt where the
    tokenizer has no BOS."""
    if top_k < 1 or horizon < 1:
        raise ValueError(f"top_k and horizon must be at least 1, got {top_k} and {horizon}")
    check_size(top_k, horizon)
    prompt_ids = _encode(tokenizer, prompt)
    window = window_of(model)
    if window is not None and len(prompt_ids) + horizon > window:
        raise ValueError(
            f"the prompt has {len(prompt_ids)} tokens; with horizon {horizon} that is above the "
            f"model's {window}"
        )
    check_angles(model, len(prompt_ids), len(prompt_ids) + horizon)
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    allowed = sorted(set(tokenizer.get_vocab().values()) - special)
    with evaluating(model), torch.inference_mode():
        ids = torch.tensor([prompt_ids])
        way = way_of(model)
        if not use_cache:
            way = replace(way, cache=False)
        started = Rows(model, None, prompts=ids, mask=torch.ones_like(ids) > 0, way=way)
        max_rows = MAX_ROWS if way.together else 1
        tables, token_ids, kept_mass = _grow(
            started,
            allowed,
            top_k=top_k,
            horizon=horizon,
            max_bytes=max_bytes,
            max_rows=max_rows,
        )
    mdp = TextTree(
        tokenizer,
        prompt,
        prompt_ids=prompt_ids,
        token_ids=token_ids,
        tables=tables,
        kept_mass=kept_mass,
        reward=reward,
    )
    return mdp, mdp.reference()


def _encode(tokenizer: Any, prompt: str) -> list[int]:
    ids: list[int] = list(tokenizer(prompt)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id and not prompt.endswith(str(tokenizer.eos_token)):
        ids.pop()  # some tokenizers close what they encode; the continuation starts before that
    if not ids and tokenizer.bos_token_id is None:
        raise ValueError(
            "the prompt is empty and the tokenizer has no BOS token to start from: give a prompt"
        )
    return ids or [tokenizer.bos_token_id]


def _grow(
    prompt: Rows,
    allowed: Sequence[int],
    top_k: int,
    horizon: int,
    max_bytes: int,
    max_rows: int,
) -> tuple[Tables, list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """Tables, token ids and kept masses, filled chunk of prefixes by chunk, going deeper before
    going on: few caches live at a time.
    """
    width = prompt.logits.shape[-1]
    allowed = [i for i in allowed if i < width]
    if top_k > len(allowed):
        raise ValueError(
            f"top_k is {top_k}, but {len(allowed)} tokens are left once special tokens are removed"
        )
    banned = torch.ones(width, dtype=torch.bool, device=prompt.logits.device)
    banned[allowed] = False
    tables = [np.empty((top_k**t, top_k)) for t in range(horizon)]
    token_ids = [np.empty((top_k**t, top_k), dtype=np.int64) for t in range(horizon)]
    kept_mass = [np.empty(top_k**t) for t in range(horizon)]
    # Per prefix: one cache at every depth, and the logits with two working copies (all positions
    # without a cache).
    length = prompt.ids.shape[1] + horizon
    cache = _cache_bytes(prompt.past) / prompt.ids.shape[1] * length * horizon
    positions = length if prompt.past is None else 1
    at_once = max_bytes // (cache + 3 * prompt.logits.nbytes * positions)
    rows = int(min(max(at_once, 1), max_rows))

    def visit(prefixes: Rows, numbers: NDArray[np.int64], t: int) -> None:
        """Write down the children of prefixes of t tokens, whose rows in table t are `numbers`;
        then visit them.
        """
        if bool(prefixes.logits.isnan().any()):
            raise ValueError("the model returned nan: load it in float32")
        best, tokens = prefixes.logits.masked_fill(banned, -torch.inf).topk(top_k)
        tables[t][numbers] = best.cpu().double().log_softmax(-1).numpy()
        token_ids[t][numbers] = tokens.cpu().numpy()
        # In float64 a few rows at a time, which the bound of the memory does not notice.
        parts = prefixes.logits.split(64)
        whole = torch.cat([part.double().logsumexp(-1) for part in parts])
        kept_mass[t][numbers] = (best.double().logsumexp(-1) - whole).exp().cpu().numpy()
        if t + 1 == horizon:
            return
        numbers = (numbers[:, None] * top_k + np.arange(top_k)).ravel()
        for part in torch.arange(len(numbers)).split(rows):
            children = prefixes.repeated(part // top_k, room=horizon - 1 - t)
            children.append(tokens.flatten()[part.to(tokens.device)])
            visit(children, numbers=numbers[part.numpy()], t=t + 1)

    visit(prompt, numbers=np.zeros(1, dtype=np.int64), t=0)
    return tables, token_ids, kept_mass


def _cache_bytes(past: Any) -> int:
    """Size of a cache of one row."""
    values = [x for layer in getattr(past, "layers", ()) for x in vars(layer).values()]
    return sum(x.nbytes for x in values if isinstance(x, Tensor))
