"""All groups of K answers with their probabilities, as one GroupBatch; or a sample of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations_with_replacement
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gnivo_edu.batch import GroupBatch
from gnivo_edu.exact.tree import Tables, TokenTree, digits
from gnivo_edu.population.answers import Answers

MAX_ENTRIES = 2**24  # groups x K x T of one record: 128 MiB per field
NAMED = ("reference", "current", "uniform")
Sampler = str | Tables | Mapping[str, float]


@dataclass(frozen=True)
class Point:
    """Where an objective is evaluated: a policy, and what critics and explicit values say there.

    `logits` [S, V]: the policy is their softmax over legal actions. `values` [S], a critic at each
    state, reward units. `prefix_values` [P], an explicit V_theta after each prefix, nats. `log_z`,
    nats.
    """

    logits: Float[Tensor, "S V"]
    values: Float[Tensor, " S"]
    prefix_values: Float[Tensor, " P"]
    log_z: Float[Tensor, ""]

    FIELDS: ClassVar = ("logits", "values", "prefix_values")

    def detached(self) -> Point:
        """The same numbers as fresh leaves that ask for gradients."""
        frozen = self.frozen()
        leaves = {name: getattr(frozen, name).clone().requires_grad_() for name in self.FIELDS}
        return replace(frozen, **leaves)

    def frozen(self) -> Point:
        """The same numbers without gradients."""
        return replace(self, **{name: x.detach() for name, x in vars(self).items()})

    def flat(self, names: tuple[str, ...]) -> Float[Tensor, " p"]:
        """The fields of these names as one vector, without gradients."""
        return torch.cat([getattr(self, name).detach().flatten() for name in names])

    def with_flat(self, names: tuple[str, ...], x: Float[Tensor, " p"]) -> Point:
        """The point whose fields of these names are taken from one vector: `flat` undone."""
        shapes = [getattr(self, name).shape for name in names]
        parts = zip(names, x.split([shape.numel() for shape in shapes]), shapes, strict=True)
        return replace(self, **{name: part.view(shape) for name, part, shape in parts})


@dataclass(frozen=True, eq=False)
class Population:
    """Groups of K answers to one prompt, drawn independently from a sampler.

    `choice` [G, K]: which answers each group holds. `multiplicity` [G]: how many ordered groups a
    listed one stands for; all ones where the groups were drawn at random (`sampled`).
    `sampler`: "reference", "current" (the policy itself: on-policy), "uniform" (over the legal
    actions of each state), tables, or a mixture such as {"reference": 0.5, "uniform": 0.5}, a coin
    flip per answer.
    `parts`: expectations are taken part by part, in less memory; for losses that are a mean over
    groups, without a statistic of the whole batch.
    """

    answers: Answers
    group_size: int
    sampler: Sampler
    choice: Int[Tensor, "G K"]
    multiplicity: Float[Tensor, " G"]
    parts: int = 1
    sampled: bool = False

    @classmethod
    def of(
        cls,
        tree: TokenTree | Answers,
        group_size: int,
        sampler: Sampler = "reference",
        ordered: bool = False,
        draws: int | None = None,
        seed: int = 0,
    ) -> Population:
        """List all groups: multisets with their multiplicities, or, if `ordered`, all K-tuples.

        Multisets are for objectives that do not care about the order in a group; n answers make C(n
        + K - 1, K) of them against n**K. With `draws`, that many groups drawn at random from a
        sampler that is fixed (not "current"). Raises ValueError where the list would be too long,
        and on a sampler that does not fit.

        >>> from gnivo_edu import exact
        >>> tree = exact.enumerate_tree_from_rewards([0, 0, 0, 1], vocab_size=2)
        >>> len(Population.of(tree, 3).choice), len(Population.of(tree, 3, ordered=True).choice)
        (20, 64)
        """
        answers = tree if isinstance(tree, Answers) else Answers.of(tree)
        n, K = len(answers.rewards), group_size
        if K < 1:
            raise ValueError(f"group_size must be at least 1, got {K}")
        if draws is not None and draws < 100:
            raise ValueError(
                f"draws must be at least 100 groups, for an estimate with its error, got {draws}"
            )
        if draws is not None:
            law = answers.law(sampling_policy(answers, sampler, current=None)).expand(draws, n)
            generator = torch.Generator().manual_seed(seed)
            choice = torch.multinomial(law, K, replacement=True, generator=generator)
            ones = torch.ones(draws, dtype=torch.float64)
            return cls(answers, K, sampler=sampler, choice=choice, multiplicity=ones, sampled=True)
        count = n**K if ordered else math.comb(n + K - 1, K)
        if count * K * answers.tokens.shape[1] > MAX_ENTRIES:
            raise ValueError(
                f"{n} answers make {count:,} {'ordered ' if ordered else ''}groups of {K}, too "
                "many to list: take a smaller tree or group, or draws=10_000 for an estimate with "
                "its error"
            )
        if ordered:
            choice = torch.from_numpy(digits(np.arange(count), n, count=K))
            multiplicity = torch.ones(count, dtype=torch.float64)
        else:
            multisets = chain.from_iterable(combinations_with_replacement(range(n), K))
            choice = torch.from_numpy(np.fromiter(multisets, np.int64, count * K)).view(count, K)
            # A multiset in which answer i stands n_i times stands for K!/prod_i n_i! ordered
            # groups. Counted among its equals up to itself, answer i gives 1, 2, ..., n_i, whose
            # product is n_i!: so K! is divided by the product of all these ranks.
            rank = (choice[:, :, None] == choice[:, None, :]).tril().sum(-1)
            multiplicity = math.factorial(K) / rank.double().prod(1)
        return cls(answers, K, sampler=sampler, choice=choice, multiplicity=multiplicity)

    def weights(self, sampling: Float[Tensor, "S V"]) -> Float[Tensor, " G"]:
        """Probability of each listed group under a sampling policy; a random sample's are equal."""
        if self.sampled:
            return self.multiplicity / len(self.choice)
        return self.multiplicity * self.answers.law(sampling)[self.choice].prod(1)

    @cached_property
    def _constants(self) -> dict[str, Tensor]:
        """What does not depend on the policy."""
        a = self.answers
        truncated = torch.zeros_like(a.lengths, dtype=torch.bool)
        if a.tree.eos_token_id is not None:
            truncated = ~(a.tokens == a.tree.eos_token_id).any(1)
        by_answer = {
            "rewards": a.rewards,
            "mask": a.mask,
            "reference_logps": a.token_logps(a.reference),
            "truncated": truncated,
        }
        return {name: x[self.choice] for name, x in by_answer.items()}

    def rows(self, point: Point) -> dict[str, Float[Tensor, "n T"]]:
        """The live fields of GroupBatch by answer, as differentiable functions of the point."""
        a = self.answers
        policy = a.policy(point.logits)
        at_states = {
            "policy_kl": a.kl(policy),
            "entropy": a.entropy(policy),
            "values": point.values,
        }
        return {
            "policy_logps": a.token_logps(policy),
            **{name: x[a.states].masked_fill(~a.mask, 0.0) for name, x in at_states.items()},
            "prefix_values": point.prefix_values[a.ends],
        }

    def batch(
        self, point: Point, live: Mapping[str, Float[Tensor, "G K T"]] | None = None
    ) -> GroupBatch:
        """One record of all groups, weighted by their probabilities: its loss is the expected loss.

        `live` replaces the gathered rows (leaves for the gradient of every single group).
        """
        with torch.no_grad():
            sampling = sampling_policy(
                self.answers, self.sampler, current=self.answers.policy(point.logits)
            )
            weight = self.weights(sampling)
            behaviour = self.answers.token_logps(sampling)[self.choice]
        fields = live or {name: x[self.choice] for name, x in self.rows(point).items()}
        return GroupBatch(
            **fields,
            **self._constants,
            behaviour_logps=behaviour,
            group_weight=weight / weight.sum(),
            log_z=point.log_z.expand(len(self.choice)),
        )


def sampling_policy(
    answers: Answers, sampler: Sampler, current: Float[Tensor, "S V"] | None
) -> Float[Tensor, "S V"]:
    """The policy that draws the answers; a mixture of policies over answers is one policy again."""
    if isinstance(sampler, str):
        if sampler not in NAMED:
            raise ValueError(
                f"sampler must be one of {', '.join(NAMED)}, tables, or a mixture, got {sampler!r}"
            )
        if sampler == "reference":
            return answers.reference
        if sampler == "uniform":
            return answers.policy(torch.zeros_like(answers.reference))
        if current is None:
            raise ValueError(
                "groups drawn from the current policy change with it: list them all, without draws"
            )
        return current.detach()
    if isinstance(sampler, Mapping):
        total = sum(sampler.values())
        if not (abs(total - 1) < 1e-9 and all(share >= 0 for share in sampler.values())):
            raise ValueError(
                f"the shares of a mixture must be non-negative with sum 1, got {dict(sampler)}"
            )
        parts = [
            share * answers.law(sampling_policy(answers, name, current=current))
            for name, share in sampler.items()
        ]
        return answers.from_law(torch.stack(parts).sum(0))
    return answers.from_tables(sampler)
