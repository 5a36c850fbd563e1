"""The processes of a run: which prompts are drawn and whose they are, what all must know, and an
error that no process waits behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from jaxtyping import Int
from torch import Tensor, distributed
from torch.nn import Parameter

from gnivo_edu.machine import pick_device
from gnivo_edu.names import nearest
from toy_envs import TokenMDP

T = TypeVar("T")
SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")


def accelerator_for(trackers: Sequence[str], out: str) -> Accelerator:
    """What accelerate makes of the surroundings; `trackers` write to the folder `out`. Raises
    ValueError, in one line, on a tracker that is not there.
    """
    check_trackers(trackers)
    # Accelerate has to be told of a CPU, or it misses the other processes.
    on_cpu = pick_device().type == "cpu"
    return Accelerator(cpu=on_cpu, log_with=list(trackers) or None, project_dir=out)


def check_trackers(names: Sequence[str]) -> None:
    """ValueError, in one line, on a tracker that accelerate does not know or that is not installed.

    >>> check_trackers(["tensorbord"])
    Traceback (most recent call last):
    ValueError: there is no tracker 'tensorbord'; did you mean 'tensorboard'?
    """
    trackers = sorted(map(str, LOGGER_TYPE_TO_CLASS))
    for name in names:
        if name not in trackers:
            raise ValueError(f"there is no tracker {name!r}; {nearest(name, trackers)}")
        if name not in map(str, get_available_trackers()):
            raise ValueError(
                f"the tracker {name!r} is not installed: pip install {name.replace('_', '-')}"
            )


class Processes:
    """Processes that each hold the whole model and learn from a share of every step's prompts; one
    is the usual case.

    `rank` of this one, `world` of them. The number of processes changes no result but by rounding:
    answers have random streams of their own, objectives see the answers of all, and gradients are
    summed.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        if any(name in str(accelerator.distributed_type) for name in SHARDED):
            raise ValueError(
                f"launched with {accelerator.distributed_type}, which splits the model: here every "
                "process holds all of it, launch with --multi_gpu or torchrun"
            )
        # What `accelerate launch --cpu` leaves in the surroundings, and torchrun does not.
        by_accelerate = {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= {*os.environ}
        if self.world == 1 and by_accelerate and "WORLD_SIZE" not in os.environ:
            raise ValueError(
                "on a CPU accelerate starts one process, whatever is asked for: launch with "
                "torchrun"
            )
        if (launched := int(os.environ.get("WORLD_SIZE", "1"))) != self.world:
            raise ValueError(
                f"launched as {launched} processes, of which accelerate finds {self.world}: use "
                "torchrun"
            )

    @property
    def first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` prompts are this one's; shares differ by one at most."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def gather(self, make: Callable[[], T]) -> list[T]:
        """What `make` gives on each process, in order. Where it fails on one, all stop.

        Raises the error itself there, and ValueError with its message on the others.
        """
        made, failed = None, None
        try:
            made = make()
        except Exception as error:
            failed = error
        if self.world == 1:
            if failed is not None:
                raise failed
            return [made]  # type: ignore[list-item]
        told: list[Any] = [None] * self.world
        why = None if failed is None else " ".join(f"{failed}".split()) or type(failed).__name__
        distributed.all_gather_object(told, (made, why))
        if failed is not None:
            failed.told = True  # type: ignore[attr-defined]  # the first process says it
            raise failed
        for rank, (_, message) in enumerate(told):
            if message is not None:
                elsewhere = ValueError(f"process {rank} of {self.world} stopped: {message}")
                elsewhere.told = True  # type: ignore[attr-defined]
                raise elsewhere
        return [x for x, _ in told]

    def agree(self, make: Callable[[], T]) -> T:
        """What `make` gives here, once it has succeeded on every process."""
        made: list[T] = []
        self.gather(lambda: made.append(make()))
        return made[0]

    def alone(self, make: Callable[[], object]) -> None:
        """Do it on the first process; the others wait, and hear of an error."""
        self.agree(lambda: make() if self.first else None)

    def collect(self, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Arrays of all prompts from those of each share, by name, on the CPU (on one process, as
        they are).
        """
        if self.world == 1:
            return make()
        shares = self.gather(lambda: {name: x.cpu() for name, x in make().items()})
        return {name: torch.cat([share[name] for share in shares]) for name in shares[0]}

    def sum_gradients(self, make: Callable[[], object], parameters: Sequence[Parameter]) -> None:
        """Run the backward pass `make` of this one's share, and add up the `.grad` of all of
        them.
        """

        def pushed() -> list[bool]:
            make()
            return [p.grad is not None for p in parameters]

        by_process = self.gather(pushed)
        if self.world == 1:
            return
        for p, reached in zip(parameters, zip(*by_process, strict=True), strict=True):
            # Without one anywhere it stays None, and the optimiser leaves the parameter alone.
            if any(reached):
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                distributed.all_reduce(p.grad)


def agree_on_questions(
    task: TokenMDP, processes: Processes, progress: Callable[[str], None]
) -> Int[np.ndarray, " N"]:
    """Numbers of the prompts that can be graded, the same on every process; says how many are left
    out, if any. Raises ValueError where none is left.
    """
    # One of them asks: a comparison that runs into its time limit here might end in time on
    # another.
    questions: Any = processes.gather(lambda: task.gradable() if processes.first else None)[0]
    count = len(task.prompts())
    if not len(questions):
        raise ValueError(
            f"none of the {count:,} gold answers can be read: nothing can be rewarded, check the "
            "data"
        )
    if len(questions) < count:
        progress(
            f"{count - len(questions):,} of {count:,} questions are left out: their gold answers "
            "cannot be read"
        )
    return np.asarray(questions)


def prompts_of_step(seed: int, step: int, count: int, total: int) -> np.ndarray:
    """Numbers of the prompts of a step, int64 [count]: each epoch is a permutation of all, made
    from (seed, epoch).

    >>> steps = [prompts_of_step(0, step, 2, 4) for step in range(4)]
    >>> [sorted(np.concatenate(steps[i : i + 2]).tolist()) for i in (0, 2)]
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    places = np.arange(step * count, (step + 1) * count)
    epochs = {
        int(e): np.random.default_rng([seed, int(e)]).permutation(total)
        for e in np.unique(places // total)
    }
    return np.array([epochs[int(i // total)][i % total] for i in places])
