"""What the setting `sampler` says: how many answers of a group each writer writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gnivo_edu.names import nearest, shown
from gnivo_edu.values import convert

# In the order in which their answers stand in a group. The first two write when they are asked; of
# the others there is what there is.
WRITERS = ("policy", "reference", "replay", "data", "demonstrations")
FRESH = WRITERS[:2]
POLICY, REFERENCE, REPLAY = (WRITERS.index(name) for name in ("policy", "reference", "replay"))


def counts_of(sampler: str | Mapping[str, Any], group_size: int) -> dict[str, int]:
    """Answers of a group by writer, in the order of `WRITERS`; a plain name writes all of them.

    Raises ValueError, in one line, on a name that is no writer, on counts below 1 and on counts
    that do not add up to the group.

    >>> counts_of("policy", 8), counts_of({"replay": 2, "policy": 6}, 8)
    ({'policy': 8}, {'policy': 6, 'replay': 2})
    >>> counts_of({"policy": 4, "repaly": 4}, 8)
    Traceback (most recent call last):
    ValueError: sampler has no writer 'repaly'; did you mean 'replay'?
    """
    counts: dict[str, int] = {}
    asked = {sampler: group_size} if isinstance(sampler, str) else sampler
    for name, count in asked.items():
        if name not in WRITERS:
            raise ValueError(f"sampler has no writer {shown(name)}; {nearest(name, WRITERS)}")
        counts[name] = convert(f"sampler.{name}", count, int)
        if counts[name] < 1:
            raise ValueError(
                f"sampler asks {name} for {count} answers a group: leave it out, or ask for 1"
            )
    if sum(counts.values()) != group_size:
        raise ValueError(
            f"sampler counts {sum(counts.values())} answers a group, but group_size is "
            f"{group_size}: make them the same"
        )
    if counts.get("demonstrations", 0) > 1:
        raise ValueError(
            "sampler asks for more than one demonstration a group, and a task writes one to a "
            "prompt: set demonstrations to 1"
        )
    return {name: counts[name] for name in WRITERS if name in counts}


def check_sampler(
    sampler: str | Mapping[str, Any], group_size: int, reference: str, data: str | None
) -> None:
    """ValueError, in one line, on what `counts_of` refuses, on answers of somebody else that have
    no reference to be compared with, and on a file that is missing, or not asked for.

    >>> check_sampler("replay", 8, reference="sampler", data=None)
    Traceback (most recent call last):
    ValueError: sampler=replay needs a reference of its own: set reference=initial or refreshed
    """
    counts = counts_of(sampler, group_size)
    # Log-ratios to different writers of one group do not share a log Z, and cannot be compared.
    if reference == "sampler" and set(counts) != {"policy"}:
        others = ", ".join(name for name in counts if name != "policy")
        raise ValueError(
            f"sampler={others} needs a reference of its own: set reference=initial or refreshed"
        )
    if "data" in counts and data is None:
        raise ValueError("sampler=data needs a file of answers: set data=FILE")
    if "data" not in counts and data is not None:
        raise ValueError(f"data={data} is not asked for: set sampler=data, or take it out")
