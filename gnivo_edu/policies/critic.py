"""Critics: one number per state, with a body of their own or on that of the policy. For the
objectives that want one (PPO, DRO, OREO), and for an explicit log Z.
"""

from __future__ import annotations

import copy
import json
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gnivo_edu.policies.heads import find_head, has_hidden_states
from gnivo_edu.policies.modes import device_of
from gnivo_edu.policies.score_model import value_rows
from gnivo_edu.policies.tabular import TabularLM
from toy_envs import TokenMDP

CriticKind = Literal["network", "head", "probe"]
Unit = Literal["reward", "nats"]
KINDS: tuple[CriticKind, ...] = ("network", "head", "probe")
CONFIG, WEIGHTS = "critic.json", "critic.safetensors"


class Critic(nn.Module):
    """One number for the state before each token of an answer, 0 at the start. `unit`: "reward"
    for `values`, or "nats" for log Z, of which it only says that of the prompt. Three kinds:

    "network": a copy of the policy's body, which is trained, and a head on it. Of a policy with
    adapters it has adapters of its own; weights that the policy does not train are shared with it.
    "head": a head on the policy's own body, which its gradient trains too.
    "probe": a head on the same hidden states, which it does not train.

    A TabularLM has no hidden states: "network" and "probe" are both a table with one entry per
    prefix, and "head" is refused. Raises ValueError, in one line, on that, on another kind, and on
    a policy without a head over hidden states.

    >>> from gnivo_edu.policies import load_checkpoint
    >>> policy = load_checkpoint()
    >>> sizes = [sum(p.numel() for p in Critic(policy, kind).parameters()) for kind in KINDS]
    >>> sizes[0] > 1e5, sizes[1] == sizes[2] == policy.config.hidden_size + 1
    (True, True)
    """

    def __init__(
        self, policy: nn.Module, kind: CriticKind = "probe", unit: Unit = "reward"
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"critic must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind, self.unit = kind, unit
        self.table: TabularLM | None = None
        self.body: nn.Module | None = None
        inner: Any = getattr(policy, "get_base_model", lambda: policy)()
        dtype = next(policy.parameters()).dtype
        if isinstance(inner, TabularLM):
            if kind == "head":
                raise ValueError(
                    "critic=head is a head on the policy's hidden states, and a table has none: "
                    "set critic=probe, which is a table here"
                )
            self.table = TabularLM(inner.config)
            self.table.logits.data = self.table.logits.data.to(dtype)
            return
        if not has_hidden_states(policy):
            raise ValueError(
                f"a critic reads hidden states, and {type(inner).__name__} has a head over none: "
                "take an objective without a critic"
            )
        backbone, head = find_head(policy)
        if kind == "network":
            self.body = sharing_copy(backbone)
        # Values are compared with rewards: not in bfloat16.
        wide = torch.promote_types(dtype, torch.float32)
        self.head = nn.Linear(head.weight.shape[1], 1, dtype=wide)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def on_policy_body(self) -> bool:
        """Whether `read` may be given what the policy itself computes, so that no further pass is
        needed.
        """
        return self.table is None and self.body is None

    def read(self, hidden: Float[Tensor, "*B H"]) -> Float[Tensor, "*B"]:
        """Values from last hidden states; from a probe no gradient goes into these."""
        hidden = hidden.detach() if self.kind == "probe" else hidden
        with torch.autocast(hidden.device.type, enabled=False):
            value: Tensor = self.head(hidden.to(self.head.weight.dtype))[..., 0]
        return value

    def forward(
        self,
        policy: nn.Module,
        task: TokenMDP,
        tokens: Int[Tensor, "B T"],
        lengths: Int[Tensor, " B"],
        prompt_index: int | Int[Tensor, " B"] = 0,
    ) -> Float[Tensor, "B T"]:
        """Values before each token of given answers, 0 after `lengths`, by a pass of its own; the
        arguments are those of `score_rows`.
        """
        answers = (task, tokens, lengths, prompt_index)
        if self.table is None:
            return value_rows(policy, *answers, read=self.read, body=self.body)
        device = device_of(self.table)
        outside = torch.arange(tokens.shape[1]) >= lengths.cpu()[:, None]
        written = tokens.cpu().masked_fill(outside, task.pad_token_id)
        index = torch.as_tensor(prompt_index).cpu().expand(len(tokens))
        prompts = torch.from_numpy(task.prompts())[index]
        # The last token is followed by no state that an action is taken in.
        ids = torch.cat([prompts, written[:, :-1]], 1).to(device)
        entries = self.table(input_ids=ids).logits[:, prompts.shape[1] - 1 :, 0]
        return entries.masked_fill(outside.to(device), 0.0)

    def trained(self) -> dict[str, nn.Parameter]:
        """What a run trains of it, by name: all but what it shares with the policy's body."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def put(self, tensors: dict[str, Tensor]) -> None:
        """Write saved weights into it: all that it trains, as a checkpoint holds them. Raises
        ValueError, in one line, on those of another critic.
        """
        _put(tensors, self.trained())


def sharing_copy(module: nn.Module) -> Any:
    """A copy that shares what the module does not train (of one with adapters, all but these)."""
    shared: dict[int, Any] = {id(p): p for p in module.parameters() if not p.requires_grad}
    return copy.deepcopy(module, shared)


def write_critic(critic: Critic, folder: Path) -> None:
    """Write what a critic is and all its weights, which `load_critic` reads: two small files beside
    a model, of a network a whole body.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().cpu().contiguous() for name, p in critic.named_parameters()}
    save_file(tensors, folder / WEIGHTS)
    about = {"kind": critic.kind, "unit": critic.unit}
    (folder / CONFIG).write_text(json.dumps(about), encoding="utf-8")


def load_critic(folder: str | PathLike[str], policy: nn.Module) -> Critic:
    """The critic that a run left in `out`/critic, on the policy that it left in `out`/model.

    A head or a probe reads the hidden states of that policy, a network has a body of its own.
    `load_critic(folder, policy)(policy, task, tokens, lengths)` are its values. Raises ValueError,
    in one line, on a folder without a critic and on one that does not fit the policy.
    """
    path = Path(folder)
    try:
        about = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        kind, unit = about["kind"], about["unit"]
        tensors = load_file(path / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(
            f"{str(path)!r} holds no critic that can be read: give the critic/ of a run whose "
            "objective trains one"
        ) from error
    critic = Critic(policy, kind, unit=unit).to(device_of(policy))
    _put(tensors, dict(critic.named_parameters()))
    return critic.requires_grad_(False).eval()


@torch.no_grad()
def _put(tensors: dict[str, Tensor], named: dict[str, nn.Parameter]) -> None:
    for name in sorted(named.keys() | tensors.keys()):
        there, here = (list(x[name].shape) if name in x else "absent" for x in (tensors, named))
        if there != here:
            raise ValueError(
                f"this critic is of another policy: its {name} is {there} there and {here} here"
            )
        named[name].copy_(tensors[name])
