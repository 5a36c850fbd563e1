"""The record of a run: every answer of an update in parquet, under the names that TRL's logs have,
with all that the loss saw of each token.

A part is a file of the folder `completions`. TRL's columns: `step`, `prompt`, `completion`, one of
the reward's name, and `advantage`, the reward less the mean of its group, over its standard
deviation + 1e-4, whatever the objective makes of it. Beside them, of an answer: `update` (0, 1, ...
of a step), `question` and `answer`, its numbers in the task and in its group, `length`,
`truncated`, `sampler`, who wrote it, and `depth` and `log_z` where the objective has them. Of each
of its tokens, a list: `token_ids`, `token_texts`, `log_probs`, `old_log_probs`, `ref_log_probs`,
nats, `implicit_values`, log pi/pi_ref of the answer up to it, `signal`, - d loss/d log_prob as the
update took it, and, where the batch holds them, `entropy`, `kl`, `values`, `old_values` and
`step_ids`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives.grpo import group_advantages
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.metrics import reward_name
from gnivo_edu.training.sampler import WRITERS

FOLDER = "completions"
# Of each token: the column, and the field of the batch that it holds.
TOKEN_COLUMNS = {
    "log_probs": "policy_logps",
    "old_log_probs": "behaviour_logps",
    "ref_log_probs": "reference_logps",
    "implicit_values": "prefix_logratio",
    "entropy": "entropy",
    "kl": "policy_kl",
    "values": "values",
    "old_values": "behaviour_values",
    "step_ids": "step_ids",
}


def has_parquet() -> bool:
    """Whether a record can be written here."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def check_record(config: TrainConfig) -> None:
    """ValueError, in one line, where a record is asked for that cannot be written here."""
    if config.completions == "all" and not has_parquet():
        raise ValueError(
            "completions=all writes parquet and needs pyarrow: pip install 'gnivo-edu[llm]', or "
            "leave it at completions=some"
        )


def part_name(step: int, update: int) -> str:
    """The file of an update: of a step's first one, the name that TRL gives the step's.

    >>> part_name(7, 0), part_name(7, 1)
    ('completions_00007.parquet', 'completions_00007-001.parquet')
    """
    return f"completions_{step:05d}{f'-{update:03d}' * bool(update)}.parquet"


def moment_of(name: str) -> tuple[int, int] | None:
    """(step, update) of a part's name, None where it is none.

    >>> moment_of("completions_00007-001.parquet"), moment_of("other.parquet")
    ((7, 1), None)
    """
    step, _, update = name.removeprefix("completions_").removesuffix(".parquet").partition("-")
    if not (step.isdecimal() and (update or "0").isdecimal()):
        return None
    return (int(step), int(update or 0)) if part_name(int(step), int(update or 0)) == name else None


class TokenTexts:
    """The text that each token of an answer adds; of a token that adds none, its name. What a token
    adds is looked up once, unless it is a part of a character, which others complete.
    """

    def __init__(self, task: Any) -> None:
        self.task = task
        self._known: dict[tuple[int, bool], str | None] = {}

    def of(self, row: Sequence[int]) -> list[str]:
        """Texts of the tokens of an answer."""
        texts = [self._alone(row, t) for t in range(len(row))]
        if None in texts:
            texts = list(self.task.token_texts(row))
        named = zip(texts, row, strict=True)
        return [_sound(text or str(self.task.vocabulary[token])) for text, token in named]

    def _alone(self, row: Sequence[int], t: int) -> str | None:
        """What token t adds after another one; None where that depends on more than itself."""
        key = (row[t], t == 0)
        if key not in self._known:
            text = self.task.token_texts(row[max(t - 1, 0) : t + 1])[-1]
            special = row[t] in self.task.eos_token_ids
            self._known[key] = None if "\ufffd" in text or not (text or special) else text
        return self._known[key]


def part_of(
    step: int,
    update: int,
    drawn: Mapping[str, Tensor],
    batch: GroupBatch,
    signal: Tensor,
    texts: TokenTexts,
    config: TrainConfig,
) -> bytes:
    """All answers of an update as the bytes of a parquet file; `signal` [N, K, T]."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    task, (N, K, T) = texts.task, batch.mask.shape
    tokens = drawn["tokens"].reshape(N * K, T).numpy()
    lengths = drawn["lengths"].flatten().numpy()
    question = drawn["prompt_index"].repeat_interleave(K).tolist()
    prompts = {number: _sound(task.question_text(number)) for number in set(question)}
    rows = [row[:length].tolist() for row, length in zip(tokens, lengths.tolist(), strict=True)]
    # float64 holds what was scored in float32, and nothing more.
    kind = torch.float64 if config.precision == "float64" else torch.float32
    inside = batch.mask.reshape(N * K, T).cpu()
    offsets = pa.array([0, *lengths.cumsum().tolist()], pa.int32())

    def of_tokens(x: Tensor) -> Any:
        x = x.detach().cpu().reshape(N * K, T)[inside]
        x = x.to(kind) if x.is_floating_point() else x.int()
        return pa.ListArray.from_arrays(offsets, pa.array(x.numpy()))

    def of_answers(x: Tensor, kind: torch.dtype = torch.float64) -> Any:
        return pa.array(x.detach().cpu().to(kind).expand(N, K).flatten().numpy())

    columns: dict[str, Any] = {
        "step": pa.array([step] * N * K, pa.int64()),
        "prompt": [prompts[number] for number in question],
        "completion": [_sound(str(task.decode(row))) for row in rows],
        reward_name(config): of_answers(batch.rewards),
        "advantage": of_answers(_advantages(batch)),
        "update": pa.array([update] * N * K, pa.int32()),
        "question": pa.array(question, pa.int64()),
        "answer": pa.array(list(range(K)) * N, pa.int32()),
        "length": pa.array(lengths, pa.int32()),
        "truncated": of_answers(drawn["truncated"], torch.bool),
        "sampler": [WRITERS[number] for number in drawn["writer"].flatten().tolist()],
    }
    for name, x in (("depth", drawn.get("depths")), ("log_z", batch.log_z)):
        if x is not None:
            columns[name] = of_answers(x[:, None])
    pieces = [text for row in rows for text in texts.of(row)]
    columns["token_ids"] = of_tokens(drawn["tokens"])
    columns["token_texts"] = pa.ListArray.from_arrays(offsets, pa.array(pieces, pa.string()))
    for name, field in TOKEN_COLUMNS.items():
        x = drawn.get("step_ids") if field == "step_ids" else getattr(batch, field)
        if x is not None:
            columns[name] = of_tokens(x)
    columns["signal"] = of_tokens(signal)
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


def _sound(text: str) -> str:
    """A text that can be written; what is no Unicode is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _advantages(batch: GroupBatch) -> Tensor:
    """Those that TRL would log: 0 in groups of one."""
    if batch.rewards.shape[1] < 2:
        return torch.zeros_like(batch.rewards)
    return group_advantages(batch, "group")
