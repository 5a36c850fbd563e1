"""The tree of a language model as a small file: its numbers and texts, without its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.policies.from_model import TextReward, TextTree

DECIMALS = 6  # of a log-probability, nats: further down a float32 model is not its own
TREE = ("prompt", "prompt_ids", "top_k", "horizon", "texts", "token_ids", "model_logps")


class Spelling:
    """What a `TextTree` asks of a tokenizer, from the texts of the tokens of one tree."""

    def __init__(self, texts: Mapping[int, str]) -> None:
        self._texts = texts

    def batch_decode(self, rows: Sequence[Sequence[int]], **_: Any) -> list[str]:
        """The text of each row; tokens outside the tree, as those of a prompt, have none."""
        return ["".join(self._texts.get(i, "") for i in row) for row in rows]


def write_tree(mdp: TextTree, path: str | Path, **facts: Any) -> None:
    """Write a tree to a JSON file: `facts` (which model, by which command, ...), its prompt and
    size, the text of each token, and by depth, row by row, the tokens kept and the model's own
    log-probabilities of them, nats, to six decimals.

    The masses that were kept can be read off these rows, and rows that are renormalised are the
    reference. Raises ValueError where a text is not that of its tokens, one after the other (a
    character may take several): it could not be read back.
    """
    tokens = sorted({int(i) for ids in mdp.token_ids for i in ids.flat})
    texts = dict(zip(tokens, mdp.texts([[i] for i in tokens]), strict=True))
    leaves = list(np.ndindex((mdp.vocab_size,) * mdp.horizon))
    rows = [mdp.model_tokens(leaf) for leaf in leaves]
    if mdp.texts(rows) != Spelling(texts).batch_decode(rows):
        raise ValueError(
            f"some texts after {mdp.prompt!r} are not those of their tokens, one after the other, "
            "and could not be read back: take another prompt"
        )
    tables = zip(mdp.reference(), mdp.kept_mass, strict=True)
    logps = [(table + np.log(mass)[:, None]).round(DECIMALS).tolist() for table, mass in tables]
    ids = [kept.tolist() for kept in mdp.token_ids]
    size = {"top_k": mdp.vocab_size, "horizon": mdp.horizon}
    content = {**facts, "prompt": mdp.prompt, "prompt_ids": mdp.prompt_ids, **size, "texts": texts}
    lines = [f"{json.dumps(name)}: {json.dumps(x)}" for name, x in content.items()]
    for name, depths in {"token_ids": ids, "model_logps": logps}.items():
        inner = ",\n".join(map(json.dumps, depths))
        lines.append(f"{json.dumps(name)}: [\n{inner}\n]")
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_tree(path: str | Path, reward: TextReward) -> tuple[TextTree, dict[str, Any]]:
    """The tree that `write_tree` wrote, as `tree_from_model` grows it, and the file's facts.

    Its rows are renormalised in float64. `reward` takes a list of texts to numbers. Raises
    ValueError, in one line, on a file that is no such tree.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        V, horizon = content["top_k"], content["horizon"]
        token_ids = _by_depth(content["token_ids"], V, horizon, dtype=np.int64)
        logps = _by_depth(content["model_logps"], V, horizon, dtype=np.float64)
        texts = {int(i): text for i, text in content["texts"].items()}
        prompt, prompt_ids = content["prompt"], content["prompt_ids"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} holds no tree of a model, as `gnivo-edu verify --model ... --tree "
            f"FILE` writes one: {type(error).__name__}: {error}"
        ) from error
    log_mass = [np.logaddexp.reduce(row, axis=1) for row in logps]
    mdp = TextTree(
        Spelling(texts),
        prompt=prompt,
        prompt_ids=prompt_ids,
        token_ids=token_ids,
        tables=[row - m[:, None] for row, m in zip(logps, log_mass, strict=True)],
        kept_mass=[np.exp(m) for m in log_mass],
        reward=reward,
    )
    return mdp, {name: x for name, x in content.items() if name not in TREE}


def _by_depth(depths: list[Any], top_k: int, horizon: int, dtype: Any) -> list[NDArray[Any]]:
    """One array a depth, [V**t, V]."""
    shapes = [(top_k**t, top_k) for t in range(horizon)]
    arrays = [np.array(rows, dtype=dtype) for rows in depths]
    if [x.shape for x in arrays] != shapes:
        raise ValueError(f"rows of {[x.shape for x in arrays]} where {shapes} are due")
    return arrays
