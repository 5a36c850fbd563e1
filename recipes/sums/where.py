"""Where did it go wrong: step values of the answers that a warmed-up model gives to `sums`, beside
the first wrong step, which is known exactly.

    python recipes/sums/where.py [--out runs/sums] [--questions 130 60] [--continuations 8]

It needs what `run_all.py` leaves: the warm-up in OUT/warm, its answers to the test set in
OUT/test/warm, and the trained models in OUT/NAME/model, as many as there are. Of each question the
first answer is taken. Monte-Carlo values continue every state between two steps with the warmed-up
model; implicit ones are log pi/pi_warm of a trained model, summed over the tokens of a step. It
writes step_values.json. Continuations that are there are read, not drawn again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hits import ALPHA, Row, hit_rates, judged

from gnivo_edu import tasks
from gnivo_edu.policies import evaluating, sample_completions
from gnivo_edu.policies.score_model import score_rows
from gnivo_edu.tasks.prompting import left_pad
from toy_envs import TokenMDP

HERE = Path(__file__).resolve().parent
SEED = 2  # of the continuations
STATES, ROWS = 24, 32  # states continued, and answers scored, at a time


class After(TokenMDP):
    """The task once something is written: every prompt is a question and the beginning of an
    answer, and the horizon is that of the shortest beginning.
    """

    def __init__(
        self, task: Any, questions: Sequence[int], beginnings: Sequence[list[int]]
    ) -> None:
        super().__init__(task.vocab_size, task.horizon - min(map(len, beginnings)))
        self.pad_token_id, self.eos_token_ids = task.pad_token_id, task.eos_token_ids
        prompts, mask = task.prompts(), task.prompt_mask()
        rows = [
            [*prompts[i][mask[i]].tolist(), *beginning]
            for i, beginning in zip(questions, beginnings, strict=True)
        ]
        self._prompts, self._mask = left_pad(rows, self.pad_token_id)

    def prompt_mask(self) -> np.ndarray:
        """Which places hold a token."""
        return self._mask


def options(out: Path) -> Row:
    """Of the task: those of the warm-up, and the test set."""
    recipe = json.loads((out / "warm" / "recipe.json").read_text(encoding="utf-8"))
    return {**recipe["task_options"], "split": "test"}


def first_answers(task: Any, folder: Path, questions: Sequence[int]) -> list[Row]:
    """The first answer to each of the first questions of every tier, as many as are asked for of
    each, with its steps and the number
    of the first wrong one (-1 for none); those of an evaluation's completions.jsonl.
    """
    lines = (folder / "completions.jsonl").read_text(encoding="utf-8").splitlines()
    tiers = dict.fromkeys(task.tier)
    places = [np.flatnonzero(np.array(task.tier) == tier) for tier in tiers]
    asked = {int(i) for some, count in zip(places, questions, strict=True) for i in some[:count]}
    answers = []
    for line in map(json.loads, lines):
        number, tokens = line["problem"], line["tokens"]
        if line["sample"] or number not in asked:
            continue
        row, length = np.array([tokens]), [len(tokens)]
        steps = task.step_ids(row, length)[0]
        ends = [*np.flatnonzero(np.diff(steps)).tolist(), len(tokens) - 1]
        answers.append(
            {
                "question": number,
                "tier": task.tier[number],
                "asked": task.question_text(number),
                "text": line["text"],
                "tokens": tokens,
                "boundaries": [0, *(end + 1 for end in ends)],
                "reward": line["reward"],
                "first_wrong": int(task.first_wrong_step(row, length, number)[0]),
            }
        )
    return sorted(answers, key=lambda answer: answer["question"])


def continued(
    policy: Any, task: Any, answers: Sequence[Row], file: Path, continuations: int
) -> list[list[list[int]]]:
    """Rewards of fresh continuations from every boundary of each answer but its end. The random
    stream of a continuation is its own, whatever is drawn beside it.
    """
    states = [
        (answer["question"], answer["tokens"][:end])
        for answer in answers
        for end in answer["boundaries"][:-1]
    ]
    mdp = After(task, *map(list, zip(*states, strict=True)))
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rewards: list[list[int]] = [json.loads(line) for line in lines]
    while len(rewards) < len(states):
        some = range(len(rewards), min(len(rewards) + STATES, len(states)))
        drawn = sample_completions(policy, mdp, continuations, some, seed=SEED)
        of_some = []
        for i, group, lengths in zip(some, drawn.tokens, drawn.lengths.tolist(), strict=True):
            question, beginning = states[i]
            rows = [
                [*beginning, *row[:length].tolist()][: task.horizon]
                for row, length in zip(group, lengths, strict=True)
            ]
            tokens, ends = padded(rows, task.pad_token_id)
            paid = task.reward(tokens.numpy(), ends.numpy(), prompt_index=question)
            of_some.append([int(reward) for reward in paid])
        rewards += of_some
        with file.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in of_some)
        print(f"{len(rewards)} of {len(states)} states", flush=True)
    places = np.cumsum([0, *(len(answer["boundaries"]) - 1 for answer in answers)]).tolist()
    return [rewards[a:b] for a, b in pairwise(places)]


def padded(rows: Sequence[Sequence[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as int64 [B, T], filled on the right, and their lengths [B]."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows]), lengths


@torch.no_grad()
def scores(
    policy: Any, task: Any, answers: Sequence[Row], reference: Any = None
) -> list[np.ndarray]:
    """log pi of the tokens of each answer, nats, float64; with a reference the exact KL(pi || ref)
    of each token's law.
    """
    field = "policy_logps" if reference is None else "policy_kl"
    found: list[np.ndarray] = []
    with evaluating(policy):
        for start in range(0, len(answers), ROWS):
            some = answers[start : start + ROWS]
            tokens, lengths = padded([answer["tokens"] for answer in some], task.pad_token_id)
            questions = torch.tensor([answer["question"] for answer in some])
            fields = score_rows(
                policy,
                task,
                tokens=tokens,
                lengths=lengths,
                prompt_index=questions,
                reference=reference,
                fields=(field,),
            )
            rows = fields[field].double().numpy()
            found += [row[:length] for row, length in zip(rows, lengths, strict=True)]
    return found


def per_step(values: Iterable[float], boundaries: Sequence[int]) -> list[float]:
    """Sums over the tokens of each step."""
    sums = np.add.reduceat(np.asarray(values, dtype=np.float64), boundaries[:-1])
    return [round(float(x), 6) for x in sums]


def kept_scores(file: Path, folder: Path, answers: Sequence[Row], given: Row) -> list[np.ndarray]:
    """`scores` of the model in a folder, read from a file if it is there."""
    if not file.exists():
        policy, task = tasks.load(str(folder), "sums", options=given)
        rows = [row.tolist() for row in scores(policy, task, answers)]
        file.write_text(json.dumps(rows) + "\n", encoding="utf-8")
        print(f"{folder}: scored", flush=True)
    return [np.array(row) for row in json.loads(file.read_text(encoding="utf-8"))]


def measure(out: Path, names: Sequence[str], questions: Sequence[int], continuations: int) -> Row:
    """Everything that is said of the steps, as step_values.json has it."""
    given = options(out)
    warm, task = tasks.load(str(out / "warm"), "sums", options=given)
    answers = first_answers(task, out / "test" / "warm", questions)
    kept = out / f"steps_{'_'.join(map(str, questions))}"  # of these answers and no others
    kept.mkdir(exist_ok=True)
    scored = {
        name: kept_scores(kept / f"{name}.json", folder, answers, given)
        for name, folder in {"warm": out / "warm", **{n: out / n / "model" for n in names}}.items()
    }
    file = kept / f"continuations_{continuations}.jsonl"
    rewards = continued(warm, task, answers, file, continuations)
    for number, (answer, after) in enumerate(zip(answers, rewards, strict=True)):
        bounds, logps = answer["boundaries"], scored["warm"][number]
        answer["right_after"] = [sum(group) for group in after]
        # Two halves of the continuations, to see how well Monte-Carlo agrees with itself.
        answer["right_after_first_half"] = [sum(row[: continuations // 2]) for row in after]
        answer["log_p"] = per_step(logps, bounds)
        lowest = np.minimum.reduceat(logps, bounds[:-1])
        answer["least_log_p_of_a_token"] = [round(float(x), 6) for x in lowest]
        answer["implicit"] = {
            name: per_step(scored[name][number] - logps, bounds) for name in names
        }
    return {
        "command": "python recipes/sums/where.py",
        "alpha": ALPHA,
        "continuations": continuations,
        "questions_a_tier": [*questions],
        "seed": SEED,
        "names": [*names],
        "answers": answers,
    }


def models_in(out: Path) -> list[str]:
    """Names of the trained models that are there, in the order of the alphabet."""
    return sorted(path.parents[1].name for path in out.glob("*/model/config.json"))


def main() -> None:
    """Measure and write step_values.json, and say the hit rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "runs" / "sums")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--questions", type=int, nargs="*", default=[130, 60], help="of each tier")
    parser.add_argument("--continuations", type=int, default=8)
    parser.add_argument("--names", nargs="*", help="trained models; default: all that are there")
    asked = parser.parse_args()
    names = models_in(asked.out) if asked.names is None else asked.names
    values = measure(asked.out, names, asked.questions, asked.continuations)
    text = json.dumps(values, separators=(",", ":")).replace('{"question"', '\n{"question"') + "\n"
    (asked.results / "step_values.json").write_text(text, encoding="utf-8")
    if judged(values):
        for name, rate in hit_rates(values).items():
            print(f"{name}: {rate['mean']:.2f} of {rate['count']}")


if __name__ == "__main__":
    main()
