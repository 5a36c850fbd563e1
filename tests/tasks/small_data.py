"""Data sets of a few rows, and a tokenizer that is enough to load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Words:
    """A tokenizer that reads anything as one token: loading data needs no more."""

    eos_token_id, bos_token_id, pad_token_id, chat_template = 1, None, 0, None
    all_special_ids = (0, 1)

    def __len__(self) -> int:
        return 3

    def get_vocab(self) -> dict[str, int]:
        return {"<pad>": 0, "<end>": 1, "word": 2}

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [2]}

    def batch_decode(self, rows: list[list[int]], **options: Any) -> list[str]:
        return [" ".join("word" for _ in row) for row in rows]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
