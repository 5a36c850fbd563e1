"""Each family of transformers' causal mapping as a tiny random model: sampled, scored, trained a
step, saved and read again. `python -m gnivo_edu.bench.families > MODELS.md` writes the table.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode

from gnivo_edu.bench.tiny import FAMILIES, tiny_model
from gnivo_edu.exact import below
from gnivo_edu.policies import load_transformer, precise_norms, sample_completions, score_rows
from gnivo_edu.policies.loading import quiet
from gnivo_edu.policies.one_law import way_of
from gnivo_edu.policies.sampling import SampledGroups
from gnivo_edu.training import TrainConfig, fine_tune
from toy_envs import TokenMDP

BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-10}  # nats


class UnequalPrompts(TokenMDP):
    """Three prompts of 5, 3 and 5 tokens over 40 actions; half the answer even pays a half."""

    def __init__(self) -> None:
        prompts = [[40, 5, 6, 7, 8], [40, 9, 4, 10, 11], [40, 12, 13, 14, 15]]
        super().__init__(40, 6, reward=_even, eos_token_id=3, prompts=prompts)
        self._prompts[1] = [41, 41, 40, 9, 4]

    def prompt_mask(self) -> NDArray[np.bool_]:
        """Two places of the second prompt are padding."""
        return self._prompts != self.pad_token_id


def _even(tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    inside = np.arange(tokens.shape[1]) < lengths[:, None]
    return (inside & (tokens % 2 == 0)).sum(1) / lengths


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What became of a family. `gaps`: largest |sampled or scored - plain| log-probability by
    dtype, nats, None for float64 where the model cannot be run in it; `casts`: modules that leave
    float64 inside; `refused`: what was said, "" if nothing was."""

    family: str
    name: str
    way: str = ""
    gaps: tuple[float, float | None] = (0.0, 0.0)
    casts: tuple[str, ...] = ()
    moved: bool = False
    reread: float = 0.0
    refused: str = ""

    @property
    def exact(self) -> bool:
        """Whether it was trained, and all it said was exact or a float32 operation is named."""
        trained = self.moved and self.reread <= 1e-5
        return not self.refused and self.gaps[0] <= BOUNDS[torch.float32] and trained and self.told

    @property
    def told(self) -> bool:
        """Whether it is exact in float64, or what is not exact is named."""
        precise = self.gaps[1] is not None and self.gaps[1] <= BOUNDS[torch.float64]
        return precise or self.gaps[1] is None or bool(self.casts)

    @property
    def row(self) -> str:
        """The row of the table."""
        if self.refused:
            return f"| {self.family} | {self.name} | refused | | | {self.refused} |"
        single, double = self.gaps
        precise = "refused by name" if double is None else below(double, BOUNDS[torch.float64])
        if double is not None and double > BOUNDS[torch.float64]:
            inside = ", ".join(self.casts)
            precise = f"{below(double, BOUNDS[torch.float32])}, float32 inside {inside}"
        trained = "yes" if self.moved and self.reread <= 1e-5 else "NO"
        close = below(single, BOUNDS[torch.float32])
        return f"| {self.family} | {self.name} | {self.way} | {close} | {precise} | {trained} |"


def examine(family: str) -> Examined:
    """Make a tiny model of a family, and do with it what a run does.

    >>> examined = examine("gpt2")
    >>> examined.exact, examined.way
    (True, 'cache, padded')
    """
    with quiet(True):
        model = tiny_model(family)
        name = type(model).__name__
        try:
            return _examine(family, model)
        except ValueError as error:
            return Examined(family=family, name=name, refused=" ".join(str(error).split()))


def _examine(family: str, model: Any) -> Examined:
    task = UnequalPrompts()
    exact = law_gap(model, task)
    way = way_of(model, padded=True)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            steps=1,
            prompts_per_step=3,
            group_size=4,
            learning_rate=1e-3,
            report_questions=0,
            out=f"{folder}/run",
        )
        trained = fine_tune(config, policy=model, task=task).policy
        again = load_transformer(f"{folder}/run/model")
        with torch.no_grad():
            ids = torch.from_numpy(task.prompts()[:1])
            before, after, read = (m(input_ids=ids).logits for m in (model, trained, again))
    double = precise_norms(model.double())
    precise: float | None = None
    with _Casts() as casts, suppress(ValueError):  # some have operations that know no float64
        precise = law_gap(double, task)
    return Examined(
        family=family,
        name=type(model).__name__,
        way=f"{'cache' if way.cache else 'whole rows'}, "
        f"{'padded' if way.padding else 'one length at a time'}",
        gaps=(exact, precise),
        casts=tuple(sorted(casts.modules)),
        moved=not torch.equal(before, after),
        reread=float((after - read).abs().max()),
    )


def law_gap(model: nn.Module, task: TokenMDP) -> float:
    """Largest distance of a token's log-probability, as it was drawn or is scored, from a plain
    pass over its row, nats.
    """
    drawn = sample_completions(model, task, 4, [0, 1, 2], seed=1)
    with torch.no_grad():
        scores = score_rows(model, task, *drawn.rows, fields=("policy_logps",))
    scored = scores["policy_logps"].view(drawn.logps.shape)
    plain = _plain(model, task, drawn)
    return max(float((x - plain).abs()[drawn.mask].max()) for x in (drawn.logps, scored))


@torch.no_grad()
def _plain(model: Any, task: TokenMDP, drawn: SampledGroups) -> Tensor:
    """The same by the model alone: one row at a time, nothing but its ids."""
    plain = torch.zeros_like(drawn.logps, dtype=torch.float64)
    prompts, mask = task.prompts(), task.prompt_mask()
    for n, k in np.ndindex(*drawn.lengths.shape):
        prompt = torch.from_numpy(prompts[n][mask[n]])
        answer = drawn.tokens[n, k, : int(drawn.lengths[n, k])]
        row = torch.cat([prompt, answer])[None]
        logits = model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1]
        law = logits[:, : task.vocab_size].double().log_softmax(-1)
        plain[n, k, : len(answer)] = law.gather(1, answer[:, None])[:, 0]
    return plain


class _Casts(TorchDispatchMode):
    """Notes the modules that cast float64 to float32; angles of positions, which are the same in
    every pass, are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.modules: set[str] = set()
        self._stack: list[str] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> _Casts:
        self._hooks = [
            register_module_forward_pre_hook(self._entered),
            register_module_forward_hook(self._left, always_call=True),
        ]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def _entered(self, module: nn.Module, args: Any) -> None:
        self._stack.append(type(module).__name__)

    def _left(self, module: nn.Module, args: Any, output: Any) -> None:
        self._stack.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given: Any = args[0] if args else None
        if "_to_copy" not in str(func) or not self._stack:
            return out
        lost = given.dtype == torch.float64 and out.dtype == torch.float32
        if lost and not self._stack[-1].endswith("RotaryEmbedding"):
            self.modules.add(self._stack[-1])
        return out


HEAD = """# Model families

Tiny random models of {count} families of transformers' causal mapping (transformers {version}):
{exact} are sampled, scored, trained a step, saved and read again, {refused} are refused by name.
Prompts are of unequal length. `python -m gnivo_edu.bench.families > MODELS.md` writes this page, in
about five minutes on one core.

*How it is run*: from a cache where cached steps give the law of whole rows, and with padding where
padding changes nothing; otherwise the slow way that is exact (`policies.one_law.way_of`).
*float32*, *float64*: largest distance, in nats, of a token's log-probability, as it was drawn or as
it is scored, from a plain pass over its row; what rounding makes is told by its bound. Above 1e-10
in float64 the modules are named that leave float64 inside. *Trained*: a step moves the model, and
what is saved and read again says the same.

| family | class | how it is run | float32 | float64 | trained, saved and read |
|---|---|---|---|---|---|"""


def page(examined: Sequence[Examined]) -> str:
    """The table as Markdown."""
    head = HEAD.format(
        count=len(examined),
        version=transformers.__version__,
        exact=sum(e.exact for e in examined),
        refused=sum(bool(e.refused) for e in examined),
    )
    return "\n".join([head, *(e.row for e in examined)]) + "\n"


def main() -> None:
    """Write the page to standard output, and the families as they are done to standard error."""
    torch.set_num_threads(1)
    examined = []
    for family in sys.argv[1:] or sorted(FAMILIES):
        examined.append(examine(family))
        print(examined[-1].row, file=sys.stderr, flush=True)
    sys.stdout.write(page(examined))


if __name__ == "__main__":
    main()
