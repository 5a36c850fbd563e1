"""How far the peak of a run's memory rises above the imports, measured in processes of their own:

python -m tests.training.measure_memory

measures every cell anew, one after the other, prints each beside its estimate, and writes
measured_memory.json, which the tests read. Needs GNIVO_SHARED and GNIVO_MODELS (for a tokenizer of
49,152 tokens), 4 GiB and some minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

MIB = 2**20
MEASURED = Path(__file__).with_name("measured_memory.json")
# Width, inner width, layers, heads, key-value heads of a Llama with tied embeddings.
SIZES = {"30M": (384, 1024, 8, 6, 2), "135M": (576, 1536, 30, 9, 3)}
STORIES = {
    "task": "stories",
    "task_options": {"horizon": 32},
    "prompts_per_step": 4,
    "group_size": 8,
}
SUMS = {
    "task": "sums",
    "task_options": {"horizon": 16, "examples": 1},
    "prompts_per_step": 2,
    "group_size": 8,
    "micro_batch": 8,
}
RUN = """
import json, sys
import peft, pyarrow.parquet, torch, transformers.models.llama.modeling_llama
import gnivo_edu.tasks.stories, gnivo_edu.tasks.sums
from gnivo_edu.training import TrainConfig, fine_tune

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak()
fine_tune(TrainConfig(**json.loads(sys.argv[1])))
print((peak() - before) / 1024)
"""


def cells() -> list[dict[str, Any]]:
    """Models, full and with adapters, in two precisions; two steps, so that moments are there."""
    return [
        {
            "model": model,
            **(STORIES if model == "stories260k" else SUMS),
            "steps": 2,
            "objective": "grpo",
            "lora_rank": rank,
            "precision": precision,
        }
        for model, rank, precision in product(("stories260k", *SIZES), (0, 8), ("float32", "bf16"))
    ]


def folder_of(model: str, place: Path, weights: bool) -> str:
    """The folder of a cell's model: with random weights, or its settings and tokenizer alone."""
    if model not in SIZES:
        return str(Path(os.environ["GNIVO_SHARED"]) / "models" / model)
    from transformers import LlamaConfig, LlamaForCausalLM

    width, inner, layers, heads, shared = SIZES[model]
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        dtype="float32",
    )
    folder = place / model
    config.save_pretrained(folder)
    if weights:
        LlamaForCausalLM(config).save_pretrained(folder)
    for file in (Path(os.environ["GNIVO_MODELS"]) / "smollm2").glob("*token*.json"):
        shutil.copy(file, folder)
    return str(folder)


def rise(settings: dict[str, Any], place: Path) -> float:
    """MiB by which the peak of a run's memory rises above the imports."""
    told = json.dumps(settings | {"out": str(place / "run")})
    shutil.rmtree(place / "run", ignore_errors=True)
    surroundings = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, told]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=surroundings)
    return float(done.stdout.splitlines()[-1])


def near(estimated: float, measured: float) -> bool:
    """Within 15% or 50 MB, whichever is larger; in MiB."""
    return abs(estimated - measured) <= max(0.15 * measured, 50e6 / MIB)


def main() -> None:
    """Measure all, and say how near the estimates are."""
    from gnivo_edu.training.config import TrainConfig
    from gnivo_edu.training.estimate import estimate

    rows = []
    with tempfile.TemporaryDirectory() as place:
        for cell in cells():
            settings = cell | {"model": folder_of(cell["model"], Path(place), weights=True)}
            estimated = estimate(TrainConfig(**settings)).largest.total / MIB
            measured = rise(settings, Path(place))
            rows.append(cell | {"mib": round(measured)})
            told = (cell["model"], cell["lora_rank"], cell["precision"])
            print(*told, round(estimated), round(measured), near(estimated, measured), flush=True)
    MEASURED.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
