"""What was said of Table 1 in miniature before it was made."""

from __future__ import annotations

from math import inf

from gnivo_edu.studies.study import Prediction
from gnivo_edu.studies.table1.rows import (
    BASE,
    OURS,
    PLACEBOS,
    PLACED,
    RIVAL,
    difference,
    gain,
    gap,
    placebo,
)
from gnivo_edu.studies.table1.search import METHODS

PREDICTIONS = (
    Prediction(
        "a tie with GRPO",
        "With one update a draw and the sampler as reference GN-IVO is a policy gradient: of K "
        "answers with m right ones a right one weighs 1/m - 1/K, GRPO's 1/sqrt(p(1 - p)). Both "
        "push the same way in every group, and differ in how they weigh groups: GN-IVO less "
        "GRPO in Pass@1 on tier 4.",
        -0.04,
        0.04,
        command="gnivo-edu claims --only gnivo-letter",
        falsified="a mean difference of more than four points",
        placebo_misses="GN-IVO paid by shuffled rewards lies where the base does",
        number=lambda results: difference(results, OURS),
        placebo=lambda results: difference(results, placebo(OURS, "shuffled")),
    ),
    Prediction(
        "the best gains a lot",
        "At tier 4 the base is right in 0.28 of its answers, mostly for a habit that "
        "demonstrations taught it and that rewards can undo: the largest gain of any method in "
        "Pass@1 there.",
        0.12,
        inf,
        command="gnivo-edu evaluate --model shipped --task arithmetic --set split=test",
        falsified="no method gains twelve points",
        placebo_misses="it gains nothing",
        number=lambda results: max(gain(results, name) for name in METHODS),
        placebo=lambda results: max(
            gain(results, placebo(m, reward)) for m in PLACED for reward in PLACEBOS
        ),
    ),
    Prediction(
        "shuffled credit teaches GRPO nothing",
        "Dealt out anew within each group, rewards are independent of answers given the group: "
        "the expected push is exactly 0, and what is left is noise. Gain of GRPO, shuffled, on "
        "tier 4.",
        -0.06,
        0.06,
        command="gnivo-edu claims --only dr-grpo-gradient",
        falsified="a change of more than six points either way",
        placebo_misses="here the reward itself misses: GRPO gains far more",
        number=lambda results: gain(results, placebo(RIVAL, "shuffled")),
        placebo=lambda results: gain(results, RIVAL),
    ),
    Prediction(
        "form alone teaches nothing",
        "The base writes the right number of totals and an end in nearly every answer: rewards "
        "for form tie, and of a tied group neither method learns. Gain of GN-IVO, form, on "
        "tier 4.",
        -0.04,
        0.04,
        command="gnivo-edu claims --only equal-rewards-grpo",
        falsified="a change of more than four points either way",
        placebo_misses="here the reward itself misses",
        number=lambda results: gain(results, placebo(OURS, "form")),
        placebo=lambda results: gain(results, OURS),
    ),
    Prediction(
        "coins hurt GN-IVO",
        "A fair coin has no push on average, and a random walk of the weights at GN-IVO's "
        "learning rate forgets: gain of GN-IVO, random, on tier 4.",
        -0.28,
        0.03,
        command="gnivo-edu claims --only gnivo-noise",
        falsified="a gain of more than three points",
        placebo_misses="here the reward itself misses",
        number=lambda results: gain(results, placebo(OURS, "random")),
        placebo=lambda results: gain(results, OURS),
    ),
    Prediction(
        "SFT-winning keeps up on easy questions",
        "It imitates one of the best of eight: where half of the answers are right nearly "
        "every group has one, and one round of best-of-8 alone brings 0.55 to 0.998. "
        "SFT-winning less GRPO on tier 2.",
        -0.02,
        0.06,
        command="gnivo-edu claims --only best-of-k-law",
        falsified="more than two points below GRPO",
        placebo_misses="GRPO paid by shuffled rewards stays where it was",
        number=lambda results: difference(results, "SFT-winning", "pass@1.2"),
        placebo=lambda results: difference(results, placebo(RIVAL, "shuffled"), "pass@1.2"),
    ),
    Prediction(
        "DRO is held at its tilt",
        "At alpha = 1 the optimum is pi_ref e^R/Z: a chance of 0.28 becomes 0.28 e/(0.28 e + "
        "0.72) = 0.51, so that no gain of more than 0.24 is to be had, and DRO's data are the "
        "base's own, so that it comes slowly. DRO's gain on tier 4.",
        0.0,
        0.24,
        command="gnivo-edu claims --only dro-optimum",
        falsified="a loss, or more than the tilt allows",
        placebo_misses="GRPO, which pays 0.04 a nat, gains more than the tilt of 1 allows",
        number=lambda results: gain(results, "DRO"),
        placebo=lambda results: gain(results, RIVAL),
    ),
    Prediction(
        "Pass@3 gains less than Pass@1",
        "What is learned is to do more often what the base does sometimes: Pass@3 less Pass@1 "
        "shrinks. GN-IVO's gap on tier 4 over the base's.",
        0.2,
        0.9,
        command="gnivo-edu claims --only best-of-k",
        falsified="a gap as wide as the base's, or none",
        placebo_misses="its gap is the base's",
        number=lambda results: gap(results, OURS) / gap(results, BASE),
        placebo=lambda results: gap(results, placebo(OURS, "form")) / gap(results, BASE),
    ),
    Prediction(
        "the log-ratio methods are no better",
        "GVPO and VIMPO push a group at the start as centred rewards do (claims vimpo-start): "
        "the better of the two less GRPO on tier 4.",
        -0.08,
        0.04,
        command="gnivo-edu claims --only vimpo-start",
        falsified="one of them more than four points above GRPO, or both more than eight below",
        placebo_misses="it lies where the base does",
        number=lambda results: max(difference(results, name) for name in ("GVPO", "VIMPO")),
        placebo=lambda results: difference(results, placebo(RIVAL, "shuffled")),
    ),
)
