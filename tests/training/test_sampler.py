"""What `sampler` may say."""

from __future__ import annotations

from typing import Any

import pytest

from gnivo_edu.training.config import load_config
from gnivo_edu.training.sampler import counts_of


def test_a_name_writes_the_whole_group_and_counts_stand_in_one_order() -> None:
    assert counts_of("replay", 5) == {"replay": 5}
    counts = counts_of({"replay": 1, "reference": 2, "policy": 3}, 6)
    assert list(counts.items()) == [("policy", 3), ("reference", 2), ("replay", 1)]


def test_a_mapping_is_read_from_the_command_line() -> None:
    changes = ["group_size=3", "reference=initial"]
    whole = load_config(changes=[*changes, "sampler={policy: 1, replay: 2}"])
    parts = load_config(changes=[*changes, "sampler.policy=1", "sampler.replay=2"])
    assert whole.sampler == parts.sampler == {"policy": 1, "replay": 2}
    assert load_config(changes=["sampler=reference", "reference=initial"]).sampler == "reference"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sampler": "polcy"}, "no writer 'polcy'; did you mean 'policy'"),
        ({"sampler": {"polcy": 8}}, "no writer 'polcy'; did you mean"),
        ({"sampler": 3}, "must be text or a group"),
        ({"sampler": {"policy": 6}}, "counts 6 answers a group, but group_size is 8"),
        ({"sampler": {"policy": 9, "reference": -1}}, "asks reference for -1 answers"),
        ({"sampler": {}}, "counts 0 answers a group"),
        ({"sampler": "reference"}, "sampler=reference needs a reference of its own"),
        ({"sampler": {"policy": 4, "replay": 4}}, "sampler=replay needs a reference of its own"),
        ({"sampler": {"policy": "many"}}, "sampler.policy must be a whole number, got 'many'"),
        ({"sampler": "data", "reference": "initial"}, "sampler=data needs a file of answers"),
        ({"data": "answers.jsonl"}, "data=answers.jsonl is not asked for"),
        ({"sampler": "demonstrations"}, "more than one demonstration a group"),
        ({"replay_age": 0}, "replay_age must be at least 1"),
        ({"questions": 0}, "questions must be at least 1 question, or null"),
    ],
)
def test_what_cannot_be_meant_is_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        load_config(**changes)
    assert "\n" not in str(error.value)
