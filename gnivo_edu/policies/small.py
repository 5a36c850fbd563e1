"""Small transformers on a token MDP: a Qwen2 or a Llama made from a config, exact in float64
too.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from gnivo_edu.policies.loading import no_config, quiet
from toy_envs import TokenMDP

Architecture = Literal["qwen2", "llama"]
ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}
# Width, width of the feed-forward part, layers, attention heads, key-value heads.
SIZES = {
    "tiny": (16, 24, 2, 4, 2),
    "small": (96, 256, 3, 4, 4),
    "medium": (192, 512, 4, 6, 6),
    "large": (512, 1536, 9, 8, 8),
}
WINDOW = (
    64  # positions at least, so that one model also reads the longer chains of the same environment
)
CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"


class PreciseRMSNorm(nn.Module):
    """x / sqrt(mean x^2 + eps) times a weight, in the precision of x, at least float32.

    The library's own norm computes in float32 whatever x is: inside a float64 model it leaves
    errors of 1e-7, which no gradient check to 1e-12 and no exact fit survives. The weight keeps its
    name, so that saving and loading do not see the difference. Source: Zhang and Sennrich (2019),
    arXiv:1910.07467, Eq. 4.
    """

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight.detach().clone()), eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return self.weight * (wide * (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()).to(
            x.dtype
        )


def precise_norms(model: PreTrainedModel) -> PreTrainedModel:
    """Replace every RMSNorm of a transformer, in place, by one that keeps float64; returns the
    model.
    """
    for name, module in list(model.named_modules()):
        if type(module).__name__.endswith("RMSNorm") and not isinstance(module, PreciseRMSNorm):
            model.set_submodule(name, PreciseRMSNorm(module.weight, module.variance_epsilon))
    return model


def small_transformer(
    env: Any,
    size: str = "small",
    architecture: Architecture = "qwen2",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    initializer_range: float = 0.02,
) -> PreTrainedModel:
    """A random transformer over the V actions of a token MDP, BOS and PAD: vocabulary V + 2,
    embeddings not tied.

    `env`: a TokenMDP, or what `gymnasium.make` gives. `size`: "tiny" (a few thousand parameters),
    "small" (a third of a million), "medium" (1.8 million) or "large" (30 million, for a GPU). In
    float64 it computes in float64 throughout, norms included. The weights are those of `seed` in
    float32, whatever `dtype` is. `initializer_range`: standard deviation of the weights; 0.02 gives
    a policy close to uniform, 0.4 one far from it. `save_pretrained` writes a plain Qwen2 or Llama.
    Raises ValueError on an unknown size or architecture.

    >>> model = small_transformer(TokenMDP(3, 4), size="tiny", dtype=torch.float64)
    >>> model(input_ids=torch.tensor([[3, 0, 2]])).logits.shape, model.dtype
    (torch.Size([1, 3, 5]), torch.float64)
    """
    mdp: TokenMDP = env.unwrapped
    if size not in SIZES or architecture not in ARCHITECTURES:
        raise ValueError(
            f"size must be one of {', '.join(SIZES)} and architecture one of "
            f"{', '.join(ARCHITECTURES)}, "
            f"got {size!r} and {architecture!r}"
        )
    width, inner, layers, heads, shared = SIZES[size]
    config_class, model_class = ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=mdp.vocab_size + 2,
        bos_token_id=mdp.bos_token_id,
        pad_token_id=mdp.pad_token_id,
        eos_token_id=mdp.eos_token_id,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=max(WINDOW, mdp.prompts().shape[1] + mdp.horizon),
        tie_word_embeddings=False,
        initializer_range=initializer_range,
        attn_implementation="sdpa",  # eager attention casts to float32, and gives nan where a row is all padding
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
    return precise_norms(model.to(dtype)).eval()


def load_transformer(
    folder: str | PathLike[str], dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A transformer that `save_pretrained` wrote, with norms that keep float64, dropout off.

    Raises ValueError on a folder that holds no model.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ValueError(no_config(Path(folder)))
    with quiet(True):
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, attn_implementation="sdpa"
        )
    return precise_norms(model).eval()


def load_checkpoint(
    name: str = "arithmetic", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A pretrained small transformer that ships with the package; how it was made lies beside it,
    in recipe.json.

    "arithmetic": for `toy_envs.ArithmeticChain(base=10, digits=2)` with any number of operations.
    It has learned the bad habit of its demonstrations, so that there is something to mend. Raises
    ValueError on an unknown name."""
    known = sorted(
        folder.name for folder in CHECKPOINTS.iterdir() if (folder / "config.json").is_file()
    )
    if name not in known:
        raise ValueError(f"there is no checkpoint {name!r}; known: {', '.join(known)}")
    return load_transformer(CHECKPOINTS / name, dtype)
