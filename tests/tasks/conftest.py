import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data():
    """The folder of data sets beside the project; skipped, with the reason, where it is not
    there.
    """
    folder = Path(os.environ.get("GNIVO_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data sets in {folder}: set GNIVO_SHARED")
    return folder


@pytest.fixture(scope="session")
def stories_tokenizer(shared_model):
    """A SentencePiece-like tokenizer with byte fallback, no pad or chat template of its own
    kind.
    """
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(shared_model)


@pytest.fixture(scope="session")
def byte_tokenizer():
    """A byte-level BPE with few merges: most characters beyond ASCII are split over tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|turn|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(
        ["So the total is 12.\n\nThe next step: the answer is \\boxed{12}.\n"] * 3, trainer
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    return tokenizer
