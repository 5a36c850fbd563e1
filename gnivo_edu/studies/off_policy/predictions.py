"""What was said of `off-policy` before its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from gnivo_edu.studies.off_policy.measures import gain
from gnivo_edu.studies.off_policy.rows import (
    COMPLETION,
    FRESH,
    HALF,
    MEASURE,
    OTHER,
    OURS,
    SHUFFLED,
    row_of,
)
from gnivo_edu.studies.results import Results
from gnivo_edu.studies.study import Prediction


def kept(method: str, sampler: str) -> Callable[[Results], float]:
    """Reads the gain of a method with some mixture over its gain on its own fresh answers."""
    return lambda results: (
        gain(results, row_of(method, sampler)) / gain(results, row_of(method, FRESH))
    )


def mean_kept(methods: Sequence[str], sampler: str) -> Callable[[Results], float]:
    """The same, its mean over methods."""
    return lambda results: fmean(kept(method, sampler)(results) for method in methods)


def below(mine: Callable[[Results], float], *others: str) -> Callable[[Results], float]:
    """Reads a share that is kept, less the smallest of those of other methods at 4:4."""
    return lambda results: mine(results) - min(kept(other, HALF)(results) for other in others)


def placebo_kept(results: Results) -> float:
    """The same of GVPO with shuffled rewards."""
    return gain(results, SHUFFLED) / gain(results, row_of("GVPO", FRESH))


def completion_change(results: Results) -> float:
    """Completion weights less softmax weights, half of each group old."""
    ours, published = row_of(COMPLETION, HALF), row_of(OURS, HALF)
    return results.difference(ours, published, MEASURE).mean


COMMAND = "gnivo-edu study off-policy"
CLIPPED = ("RLOO", "Dr. GRPO", "PPO")
NOTHING = "shuffled rewards leave nothing to learn, so that it keeps about none of the gain."
PREDICTIONS = (
    Prediction(
        name="GVPO keeps its gain with half of each group old",
        says="GVPO ends at the optimum whoever wrote the answers, 0 in the laboratory at every "
        "share; its paper says, second-hand, that mixtures of 0:8 to 4:4 are as good. Gain of 4:4 "
        "over that of 0:8.",
        low=0.8,
        high=1.2,
        command=COMMAND,
        falsified="a gain that is more than a fifth smaller: then where a method ends does not "
        "settle what old answers are worth on the way.",
        placebo_misses=NOTHING,
        number=kept("GVPO", HALF),
        placebo=placebo_kept,
    ),
    Prediction(
        name="GN-IVO at all depths keeps its gain, too",
        says="Its completions are to come from its reference, and an old answer is nearer to it "
        "than a new one: in the laboratory its end moves from 0.028 to 0.014 from the optimum as "
        "half of the answers grow old. Gain of 4:4 over that of 0:8.",
        low=0.75,
        high=1.25,
        command=COMMAND,
        falsified="a gain that is more than a quarter smaller.",
        placebo_misses=NOTHING,
        number=kept(OURS, HALF),
        placebo=placebo_kept,
    ),
    Prediction(
        name="GRPO keeps most of its gain",
        says="The ratio to the writer of an old answer is clipped at a fifth, so that tokens that "
        "have moved far teach no more; two visits ago few have. Gain of 4:4 over that of 0:8.",
        low=0.6,
        high=1.1,
        command=COMMAND,
        falsified="a gain above 1.1 of that on fresh answers, or below 0.6.",
        placebo_misses=NOTHING,
        number=kept("GRPO", HALF),
        placebo=placebo_kept,
    ),
    Prediction(
        name="another model's answers help GVPO",
        says="The other model is right more often, so that fewer groups are wrong throughout; and "
        "GVPO does not mind who wrote. Gain with four answers of it over that of 0:8.",
        low=0.9,
        high=1.8,
        command=COMMAND,
        falsified="a gain that is more than a tenth smaller than on its own answers.",
        placebo_misses=NOTHING,
        number=kept("GVPO", OTHER),
        placebo=placebo_kept,
    ),
    Prediction(
        name="completion weights cost no more than they mend",
        says="They end at the optimum, 0 in the laboratory, where softmax weights end 0.014 from "
        "it with half of the answers old; their ratios are noise on the way. Mean Pass@1 at 4:4, "
        "completion weights less softmax weights.",
        low=-0.06,
        high=0.02,
        command=COMMAND,
        falsified="completion weights more than two points better, or six worse.",
        placebo_misses="it is the difference of two kinds of weights, of which placebos have one.",
        number=completion_change,
    ),
    Prediction(
        name="of RLOO, Dr. GRPO, PPO and OREO, RLOO loses most",
        says="Its clip is on the ratio of a whole answer, which leaves it first: in the laboratory "
        "an old answer has 0.88 of the pull of a new one near its writer, where the clips on "
        "tokens of Dr. GRPO and PPO leave 0.97; OREO has no ratio. At these rates each of the four "
        "goes about as far between two visits. Share of the gain that RLOO keeps at 4:4, less the "
        "smallest of Dr. GRPO, PPO and OREO.",
        low=-0.4,
        high=0.0,
        command=COMMAND,
        falsified="one of the three that keeps less than RLOO.",
        placebo_misses="GVPO with shuffled rewards in the place of RLOO keeps about none of a "
        "gain, far less than a clip takes.",
        number=below(kept("RLOO", HALF), "Dr. GRPO", "PPO", "OREO"),
        placebo=below(placebo_kept, "Dr. GRPO", "PPO", "OREO"),
    ),
    Prediction(
        name="methods that clip keep less than OREO",
        says="Once the policy has gone far, clips leave next to nothing of the pull of an old "
        "answer, 0.08 of RLOO, 0.15 of Dr. GRPO and 0.17 of PPO, where that of OREO is 1.24. What "
        "is clipped is not learned from, and 1,280 of 2,048 answers are new. Mean share that RLOO, "
        "Dr. GRPO and PPO keep at 4:4, less that of OREO.",
        low=-0.35,
        high=-0.02,
        command=COMMAND,
        falsified="clipping methods that keep as much as OREO, or more: then the clip costs "
        "nothing at two visits.",
        placebo_misses="GVPO with shuffled rewards in the place of the three keeps about none.",
        number=below(mean_kept(CLIPPED, HALF), "OREO"),
        placebo=below(placebo_kept, "OREO"),
    ),
    Prediction(
        name="OREO keeps its gain",
        says="Its residuals are 0 at the optimum whoever wrote the answers, 0 in the laboratory at "
        "every share, and it is made for answers that were written before. Gain of 4:4 over that "
        "of 0:8.",
        low=0.85,
        high=1.15,
        command=COMMAND,
        falsified="a gain that differs by more than three twentieths.",
        placebo_misses=NOTHING,
        number=kept("OREO", HALF),
        placebo=placebo_kept,
    ),
    Prediction(
        name="told who wrote them, methods that clip learn from another model's answers",
        says="Its right answers are likelier under it than under the policy, and a clip does not "
        "stop a right answer with a ratio below 1: it teaches at that weight. Wrong ones are "
        "clipped there. Mean share of the gain that RLOO, Dr. GRPO and PPO keep with four answers "
        "of it.",
        low=0.7,
        high=1.1,
        command=COMMAND,
        falsified="a mean below 0.7: clips and weights hide another model's answers after all; or "
        "above 1.1: its answers are worth more than their own.",
        placebo_misses=NOTHING,
        number=mean_kept(CLIPPED, OTHER),
        placebo=placebo_kept,
    ),
)
