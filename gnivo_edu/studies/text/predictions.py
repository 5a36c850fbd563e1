"""What was said of the study of text before its runs."""

from __future__ import annotations

from statistics import mean

from gnivo_edu.studies.study import Prediction
from gnivo_edu.studies.text.rows import (
    LARGEST,
    MIDDLE,
    OURS,
    PLACEBOS,
    RIVAL,
    diversity_against_kl,
    gain,
    largest_share,
    ratio,
    row,
    share,
)

PREDICTIONS = (
    Prediction(
        name="No row lies above the frontier",
        says=(
            "pi*_alpha is the best policy of its KL (Theorem 1), so no method, whatever its loss, "
            "gains more than the most that its KL can buy: the largest share over all rows is at "
            "most 1, but for the error of an estimate from 512 answers an opening. The best row "
            "still gains a third of it, as trials on the openings of training did."
        ),
        low=0.33,
        high=1.03,
        command="gnivo-edu claims --only theorem-1",
        falsified="a share above 1.03, which would be a fault of the KL or of the frontier.",
        placebo_misses="it is paid for nothing that helps, so that its KL buys no reward.",
        number=largest_share,
        placebo=lambda results: largest_share(results, placebo=True),
    ),
    Prediction(
        name="GN-IVO earns reward on openings it has not seen",
        says=(
            "At a learning rate of 0.0003 GN-IVO's mean reward rises by 0.06 to 0.30 on openings "
            "that it was not trained on: the push on happy words depends little on the opening. "
            "(On the openings of training a trial rose by 0.27.)"
        ),
        low=0.06,
        high=0.30,
        command="gnivo-edu train --config recipes/stories_cpu.yaml --set model=PATH_OR_HUB_ID",
        falsified="a mean gain outside the interval.",
        placebo_misses="rewards that say nothing of the words move the mean by noise alone.",
        number=lambda results: gain(results, row(OURS, MIDDLE)),
        placebo=lambda results: mean(gain(results, row(OURS, MIDDLE, p)) for p in PLACEBOS),
    ),
    Prediction(
        name="GN-IVO and GRPO lie on one curve",
        says=(
            "To the letter GN-IVO's reference is the policy, and its gradient a policy gradient "
            "with softmax weights less 1/K in the place of standardised rewards. Both orders rank "
            "a group alike, so that both buy the same reward for the same KL: their shares of the "
            "most differ by less than 0.1 at a learning rate of 0.0003."
        ),
        low=-0.1,
        high=0.1,
        command="gnivo-edu claims --only gnivo-letter",
        falsified="a difference of mean shares of 0.1 or more, either way.",
        placebo_misses="a group whose rewards are random is ranked at random.",
        number=lambda results: (
            share(results, row(OURS, MIDDLE)).mean - share(results, row(RIVAL, MIDDLE)).mean
        ),
        placebo=lambda results: (
            share(results, row(OURS, MIDDLE, "random")).mean
            - share(results, row(RIVAL, MIDDLE)).mean
        ),
    ),
    Prediction(
        name="Diversity is paid with KL, whatever the method",
        says=(
            "A policy far from the reference has put its probability on few continuations. Over "
            "all methods and rates the rank correlation of KL and distinct-2 is below -0.7."
        ),
        low=-1.0,
        high=-0.7,
        command="gnivo-edu atlas",
        falsified="a rank correlation above -0.7: then methods would keep diversity apart.",
        placebo_misses=(
            "its rows are too few for a rank correlation; without a reward that pulls to some "
            "words, its drift need not narrow the law, and no number is given."
        ),
        number=diversity_against_kl,
    ),
    Prediction(
        name="RLOO stops where its KL costs what it earns",
        says=(
            "RLOO subtracts 0.05 KL from the reward, so that a KL above 0.4/0.05 = 8 nats costs "
            "more than the reward, which is below 1, can pay. GRPO's 0.04 weighs a KL a token "
            "against rewards over their standard deviation, and stops nothing in 20 steps. At a "
            "learning rate of 0.001 RLOO's KL is at most a tenth of GRPO's."
        ),
        low=0.0,
        high=0.1,
        command="gnivo-edu atlas",
        falsified="a ratio of mean KLs above 0.1.",
        placebo_misses=(
            "between two methods without such a brake, GN-IVO and GRPO, paid at random, the "
            "ratio is of the order of 1."
        ),
        number=lambda results: ratio(results, row("RLOO", LARGEST), row(RIVAL, LARGEST)),
        placebo=lambda results: ratio(
            results, row(OURS, MIDDLE, "random"), row(RIVAL, MIDDLE, "random")
        ),
    ),
)
