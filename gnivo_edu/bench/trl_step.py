"""A training step of TRL's `GRPOTrainer` (extra `trl`), on the same weights and prompts as ours."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gnivo_edu.bench.models import share_of_even
from gnivo_edu.bench.step import Clock, Step


def trl_step(
    step: Step, device: str | None = None, rows_at_once: int | None = None
) -> Callable[[int], float]:
    """A call that trains for a few steps and says the seconds of one. The trainer is made once, and
    begins each run with the weights that ours begins with. With a `device` forward passes are in
    bf16; `rows_at_once` answers are scored and differentiated at a time, all of them by default.

    Raises ImportError where TRL is not installed.
    """
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Ticking(TrainerCallback):
        """Says when a step has ended."""

        clock = Clock()

        def on_step_end(self, *arguments: Any, **keywords: Any) -> None:
            self.clock.tick()

    answers = step.prompts * step.group_size
    at_once = min(rows_at_once or answers, answers)
    model, task, ticking = step.model(), step.task(), Ticking()
    weights = copy.deepcopy(model.state_dict())
    prompts = [" ".join(map(str, prompt)) for prompt in task.prompts()]
    folder = tempfile.TemporaryDirectory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = GRPOConfig(
            output_dir=folder.name,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=answers // at_once,
            num_generations=step.group_size,
            max_completion_length=step.horizon,
            max_steps=step.steps + 1,
            learning_rate=1e-6,
            beta=0.0,
            loss_type="grpo",
            gradient_checkpointing=False,  # on by default: it saves memory and takes longer
            bf16=device is not None,
            use_cpu=device != "cuda",
            save_strategy="no",
            report_to=[],
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = GRPOTrainer(
            model,
            reward_funcs=_rewards,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            processing_class=_tokenizer(task.vocab_size),
            callbacks=[ticking],
        )
    trainer.remove_callback(PrinterCallback)

    def run(repeat: int) -> float:
        ticking.clock = Clock()
        trainer.model.load_state_dict(weights)
        assert folder.name  # it lives as long as this call
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train()
        return ticking.clock.seconds

    return run


def _rewards(prompts: Any, completions: Any, completion_ids: Any, **_: Any) -> list[float]:
    """What our task pays."""
    lengths = np.array([len(ids) for ids in completion_ids])
    tokens = np.zeros((len(lengths), lengths.max()), dtype=np.int64)
    for row, ids in zip(tokens, completion_ids, strict=True):
        row[: len(ids)] = ids
    rewards: list[float] = share_of_even(tokens, lengths).tolist()
    return rewards


def _tokenizer(actions: int) -> Any:
    """Each id is written as its number. The end of sequence is an id that the model does not have,
    so that it never comes.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {str(token): token for token in range(actions)}
    words |= {"[PAD]": actions, "[EOS]": actions + 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="[EOS]", padding_side="left"
    )
