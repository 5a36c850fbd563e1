"""ArithmeticText: arithmetic with a tokenizer, so that code for models that read text reads this
task too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gnivo_edu.tasks.arithmetic import Arithmetic
from gnivo_edu.tasks.grading import Grade
from gnivo_edu.tasks.segment import Segmenter, get_segmenter


class ArithmeticText(Arithmetic):
    """`Arithmetic` whose characters are the tokens of a Hugging Face tokenizer, `tokenizer`, with
    the same ids.

    Takes what `Arithmetic` takes, and a `segmenter` (see `segment.get_segmenter`), by default after
    each ";". The tokenizer puts `bos_token_id` before what it encodes; BOS and padding are its
    special tokens. The end token "." is not: it is a character like the others, and a model has to
    choose it. So a checkpoint of this vocabulary can be handed to `policies.tree_from_model`, and
    `evaluation.step_values` finds exact values in a pruned tree.

    >>> task = ArithmeticText(tiers=(2,), num_prompts=1, split="test")
    >>> task.tokenizer(task.question(0))["input_ids"] == task.prompts()[0].tolist()
    True
    >>> [grade.reward for grade in task.grade_texts(["64;56.", "64;56", "64;56.9"])]
    [1.0, 0.0, 1.0]
    """

    def __init__(self, *args: Any, segmenter: str | Segmenter = "after:;", **options: Any) -> None:
        super().__init__(*args, **options)
        self._steps = get_segmenter(segmenter)
        self.tokenizer = character_tokenizer(
            self.vocabulary, self.bos_token_id, pad_token_id=self.pad_token_id
        )

    def grade_texts(self, texts: Sequence[str], prompt_index: ArrayLike = 0) -> list[Grade]:
        """The verdict on answers that are texts already; what follows the first "." is not read.

        Raises ValueError on a text with other characters than those of `vocabulary`, or longer than
        `horizon`."""
        code = {character: token for token, character in enumerate(self.vocabulary)}
        tokens = np.full((len(texts), self.horizon), self.pad_token_id)
        lengths = np.zeros(len(texts), dtype=np.int64)
        for row, text in enumerate(texts):
            before, dot, _ = text.partition(".")
            answer = before + dot
            unknown = [character for character in answer if character not in code]
            if unknown or len(answer) > self.horizon:
                length = f"is longer than {self.horizon} characters"
                problem = f"holds {unknown[0]!r}" if unknown else length
                raise ValueError(
                    f"an answer is written in {''.join(self.vocabulary)!r}, but {text!r} {problem}"
                )
            lengths[row] = len(answer)
            tokens[row, : len(answer)] = [code[character] for character in answer]
        return self.grade(tokens, lengths, prompt_index=prompt_index)


def character_tokenizer(vocabulary: Sequence[str], bos_token_id: int, pad_token_id: int) -> Any:
    """A Hugging Face tokenizer of single characters: token i is `vocabulary[i]`; BOS stands before
    what is encoded.

    >>> tokenizer = character_tokenizer("ab", bos_token_id=2, pad_token_id=3)
    >>> tokenizer("ba")["input_ids"], tokenizer.decode([2, 1, 0], skip_special_tokens=True)
    ([2, 1, 0], 'ba')
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {character: token for token, character in enumerate(vocabulary)}
    ids |= {"<bos>": bos_token_id, "<pad>": pad_token_id}
    characters = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    characters.decoder = decoders.Fuse()
    characters.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", bos_token_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=characters, bos_token="<bos>", pad_token="<pad>"
    )
