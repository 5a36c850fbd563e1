"""Groups of completions from any causal LM: prompt run once, one random stream per completion."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gnivo_edu.policies.cached_rows import Rows, check_room, prompts_of
from gnivo_edu.policies.drawn import Drawn
from gnivo_edu.policies.modes import device_of, evaluating
from gnivo_edu.policies.one_law import parts_of, way_of
from gnivo_edu.policies.sampling import SampledGroups
from gnivo_edu.policies.sampling_law import SamplingLaw, completion_numbers, uniforms_of
from toy_envs import TokenMDP


@torch.no_grad()
def sample_completions(
    policy: nn.Module,
    task: TokenMDP,
    group_size: int,
    prompt_index: ArrayLike | Tensor = (0,),
    *,
    seed: int = 0,
    step: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    max_rows: int | None = None,
    share: slice = slice(None),
) -> SampledGroups:
    """Draw `group_size` independent completions to each prompt of `prompt_index` [N], as
    `SampledGroups` [N, K, T].

    Ancestral sampling over the actions 0..vocab_size-1 alone, from softmax(logits / temperature),
    cut to `top_k` and `top_p` if given; dropout off. `logps` are those of that law, nats, in the
    policy's precision but at least float32. T is the horizon; a completion ends with any of the
    end-of-sequence ids, which is drawn and scored as an action.

    Each prompt is run once; its completions share its keys and values where `decoder_of` knows the
    model, and have copies of them elsewhere. A completion that has ended leaves the batch. A model
    without a cache (`TabularLM`), or with one that gives another law (`way_of`), is run on whole
    rows; where padding changes the law, prompts of one length are run together. At most `max_rows`
    completions are drawn at a time.

    Completion number j of prompt number i reads its own stream of uniforms, made from (seed, step,
    i, j) and from nothing else. In float64 and float32 it is the same in any batch and for any
    `max_rows`, but for a draw that rounding tips over; in bf16 rounding depends on the batch, so
    that completions drawn in other batches part after some tokens, each still a draw from its own
    `logps`. A prompt listed again gets the next K numbers j. With `share`, only those of
    `prompt_index` are drawn, as they would be among all. Tokens come from the inverse of the
    cumulative distribution in float64, one uniform a token.

    Raises ValueError, in one line, on group_size < 1, on a temperature that is not above 0, on an
    unknown prompt, on a prompt that with the horizon is longer than the model's positions, on a
    vocabulary that is too small, and on nan.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> mdp = TokenMDP(2, 3, eos_token_id=1, prompts=[[2, 0], [2, 1]])
    >>> policy = TabularLM.from_mdp(mdp, seed=0)
    >>> both, one = (sample_completions(policy, mdp, 4, prompts) for prompts in ([0, 1], [1]))
    >>> both.tokens.shape, bool((both.tokens[1] == one.tokens[0]).all())
    (torch.Size([2, 4, 3]), True)
    """
    law = SamplingLaw(temperature=temperature, top_k=top_k, top_p=top_p)
    if group_size < 1 or (max_rows is not None and max_rows < 1):
        raise ValueError(
            f"group_size and max_rows must be at least 1, got {group_size} and {max_rows}"
        )
    ids, mask = prompts_of(task)
    index = torch.as_tensor(prompt_index, dtype=torch.int64).reshape(-1).cpu()
    if not len(index) or not bool(((index >= 0) & (index < len(ids))).all()):
        raise ValueError(
            f"prompt_index must list prompts in 0..{len(ids) - 1}, got {index.tolist()}"
        )
    check_room(policy, task, ids=ids, mask=mask, index=index)
    start, stop, _ = share.indices(len(index))
    # Numbered before the share is cut out of them, so that a share draws what it would among all.
    numbers = completion_numbers(index.tolist(), group_size)[start * group_size : stop * group_size]
    index = index[start:stop]
    drawn = Drawn(task, rows=len(numbers), device=device_of(policy))
    rows_at_once = max_rows or len(numbers)
    if not way_of(policy).together:
        rows_at_once = 1
    prompts_at_once = max(rows_at_once // group_size, 1)
    places = torch.arange(len(numbers)).view(-1, group_size)  # rows of each prompt
    lengths = mask.sum(1)[index]
    with evaluating(policy):
        # Where not all fit at once, prompts of like length are run together: less is padding.
        for shuffled in lengths.argsort(stable=True).split(prompts_at_once):
            # In the order of their numbers, in which the prompts are run: no row has to be moved.
            chunk = shuffled[index[shuffled].argsort(stable=True)]
            for way, part in parts_of(policy, lengths[chunk]):
                # Each prompt is run once, however many rows it has; `owner` says which is whose.
                owners = index[chunk[part]].repeat_interleave(group_size)
                unique, owner = owners.unique(return_inverse=True)
                started = Rows(
                    policy, task.vocab_size, prompts=ids[unique], mask=mask[unique], way=way
                )
                of_part = places[chunk[part]].flatten()
                for at in torch.arange(len(owner)).split(rows_at_once):
                    named = [numbers[place] for place in of_part[at].tolist()]
                    uniforms = uniforms_of(seed, step, rows=named, count=task.horizon)
                    rows = started.repeated(owner[at], room=task.horizon)
                    drawn.fill(of_part[at], rows, law=law, uniforms=uniforms)
    return drawn.groups(index, law)


@torch.no_grad()
def behaviour_check(
    policy: nn.Module, task: TokenMDP, samples: SampledGroups, max_rows: int = 8
) -> dict[str, float]:
    """Mean and largest |sampled - rescored| log-probability over the tokens of completions, nats.

    Rescored: each whole row once more, without cache, `max_rows` at a time, under the law that drew
    it. The names are TRL's. Below 1e-12 in float64 (about 1e-7 where the model itself works in
    float32 inside); in lower precision a metric to watch.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import TokenMDP
    >>> policy, mdp = TabularLM.from_mdp(TokenMDP(2, 3), seed=0), TokenMDP(2, 3)
    >>> samples = sample_completions(policy, mdp, group_size=4, temperature=0.7)
    >>> differences = behaviour_check(policy, mdp, samples)
    >>> {name: value < 1e-12 for name, value in differences.items()}
    {'sampling/sampling_logp_difference/mean': True, 'sampling/sampling_logp_difference/max': True}
    """
    ids, mask = prompts_of(task)
    tokens, lengths, prompt_index = samples.rows
    inside, drawn_logps = (x.flatten(0, 1) for x in (samples.mask, samples.logps))
    tokens = tokens.masked_fill(~inside, task.pad_token_id)
    owner = prompt_index.cpu()
    gaps = []
    prompts = mask.sum(1)[owner]
    with evaluating(policy):
        for chunk in torch.arange(len(tokens)).split(max_rows):
            for way, within in parts_of(policy, prompts[chunk]):
                part = chunk[within]
                written = tokens[part, : int(lengths[part].max())]
                rows = Rows(
                    policy,
                    task.vocab_size,
                    prompts=ids[owner[part]],
                    mask=mask[owner[part]],
                    way=way,
                    tokens=written,
                )
                logps = samples.law.log_probabilities(rows.logits)
                # PAD is no action, so it is read off as the last one, and then left out.
                actions = written.clamp(max=task.vocab_size - 1).to(logps.device)
                rescored = logps.gather(-1, actions[..., None])[..., 0]
                sampled = drawn_logps[part, : written.shape[1]].to(rescored)
                counts = inside[part, : written.shape[1]].to(rescored.device)
                gaps.append((sampled - rescored).abs()[counts])
    gap = torch.cat(gaps).double()
    name = "sampling/sampling_logp_difference"
    return {f"{name}/mean": float(gap.mean()), f"{name}/max": float(gap.max())}
