"""The state of a run: what a checkpoint holds, and how it comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gnivo_edu.training.checkpoint import RunFolder
from gnivo_edu.training.manifest import COUNTS, LOGS
from gnivo_edu.training.origin import check_origin
from gnivo_edu.training.processes import Processes
from gnivo_edu.training.rollout import Drawn, Rollouts, frozen


@dataclass
class RunState:
    """How far a run has come: `inner` updates of `step`, on the answers `drawn` of all processes.

    `tokens` of all prompts and answers so far, a prompt counted once for each of its answers;
    `lines` of the logs; `origin`, what the run began with, where it is known. With the weights that
    are trained, the reference, the critic, the optimiser and the answers that may be replayed this
    is the whole state."""

    rollouts: Rollouts
    optimizer: torch.optim.Optimizer
    step: int = 0
    inner: int = 0
    tokens: int = 0
    drawn: Drawn | None = None
    lines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LOGS, 0))
    origin: dict[str, Any] | None = None

    def save(self, folder: RunFolder, keep: int) -> None:
        """Write a checkpoint; see `RunFolder.save`."""
        rollouts = self.rollouts
        moved = rollouts.reference is not rollouts.initial
        reference = self._weights(rollouts.reference) if moved else None
        critic = None
        if rollouts.critic is not None:
            critic = {name: p.detach().cpu() for name, p in rollouts.critic.trained().items()}
        tensors = {
            "policy": self._weights(rollouts.policy),
            "reference": reference,
            "critic": critic,
            "optimizer": self.optimizer.state_dict(),
            "drawn": self.drawn if self.inner else None,
            "replay": rollouts.writers.memory(),
        }
        counts = {name: getattr(self, name) for name in COUNTS}
        state = {**counts, "lines": self.lines, "origin": self.origin}
        folder.save(state, tensors, keep=keep)

    def restore(
        self, folder: RunFolder, processes: Processes, progress: Callable[[str], None]
    ) -> None:
        """Go to the newest whole checkpoint, or stay at the start if there is none; nothing is
        written.

        Raises ValueError, in one line, on a checkpoint of another model or of a run that began
        otherwise, where more steps are done than are asked for, and where processes do not read the
        same one.
        """
        processes.agree(lambda: self._load(folder, progress))
        moments = processes.gather(lambda: (self.step, self.inner))
        if len(set(moments)) > 1:
            raise ValueError(
                f"the processes do not read the same checkpoint in {folder.path}: share that folder"
            )

    def _load(self, folder: RunFolder, progress: Callable[[str], None]) -> None:
        checkpoint = folder.load(progress)
        if checkpoint is None:
            progress("there is no checkpoint yet: starting from the beginning")
            return
        state, tensors = checkpoint
        rollouts = self.rollouts
        config = rollouts.config
        if self.origin is not None:
            check_origin(config, state["origin"], now=self.origin, progress=progress)
        folder.check_logs(state)
        if (state["step"], state["inner"]) > (config.steps, 0):
            raise ValueError(
                f"this run has gone beyond steps={config.steps}: its last checkpoint is at step "
                f"{state['step']}; set steps to {state['step'] + bool(state['inner'])} or more"
            )
        try:
            self._put(rollouts.policy, tensors["policy"])
            if tensors["reference"] is not None:
                rollouts.reference = frozen(rollouts.policy)
                self._put(rollouts.reference, tensors["reference"])
            if rollouts.critic is not None:
                rollouts.critic.put(tensors["critic"])
            self.optimizer.load_state_dict(tensors["optimizer"])
            rollouts.writers.recall(tensors["replay"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the checkpoint in {folder.checkpoints} is of another model: "
                f"{' '.join(str(error).split())[:160]}"
            ) from error
        self.step, self.inner, self.tokens = (state[name] for name in COUNTS)
        self.drawn, self.lines = tensors["drawn"], dict(state["lines"])
        update = f", update {self.inner}" if self.inner else ""
        progress(f"resuming at step {self.step}{update}")

    def _weights(self, model: nn.Module) -> dict[str, Tensor]:
        """What is trained, by name, whichever copy of the policy it is taken from."""
        named = model.named_parameters()
        return {name: p.detach().cpu() for name, p in named if name in self._trained()}

    def _put(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        """Write saved weights into a model: all those that are trained here, and no others."""
        named: dict[str, Any] = dict(model.named_parameters())
        if other := self._trained() ^ tensors.keys():
            where = "not there" if min(other) in self._trained() else "not trained here"
            raise ValueError(f"{min(other)} is {where}")
        with torch.no_grad():
            for name, x in tensors.items():
                if named[name].shape != x.shape:
                    raise ValueError(
                        f"{name} is {list(x.shape)} there and {list(named[name].shape)} here"
                    )
                named[name].copy_(x)

    def _trained(self) -> set[str]:
        return {name for name, p in self.rollouts.policy.named_parameters() if p.requires_grad}
