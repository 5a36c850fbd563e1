"""Log-probabilities of any causal LM on a token MDP: renormalised over the actions, here and
nowhere else.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gnivo_edu.exact import Tables, check_size
from gnivo_edu.exact.tree import digits
from gnivo_edu.policies.modes import device_of, evaluating
from gnivo_edu.policies.one_law import way_of
from toy_envs import TokenMDP


def next_token_logps(
    policy: nn.Module,
    mdp: TokenMDP,
    prefixes: Int[Tensor, "B t"],
    prompt_index: int | Int[Tensor, " B"] = 0,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "B t+1 V"]:
    """log pi(a | x, y_<s) for every action and s = 0..t, nats; differentiable.

    `policy`: any causal LM whose vocabulary holds the V actions, BOS and PAD. The logits of the
    actions are renormalised, so that other tokens never take probability; in the policy's
    precision, or in `dtype`. Raises ValueError if the vocabulary is too small, on prompts that are
    padded to one length, and on models that are no law of the next token (`way_of`).
    """
    device = device_of(policy)
    index = torch.as_tensor(prompt_index, device=device).expand(len(prefixes))
    if not mdp.prompt_mask()[index.cpu().numpy()].all():
        raise ValueError(
            "this prompt is padded to the length of others: use score_rows, or prompts of one "
            "length"
        )
    prompts = torch.from_numpy(mdp.prompts()).to(device)
    inputs = torch.cat([prompts[index], prefixes.to(device)], 1)
    if way_of(policy).together:
        logits = policy(input_ids=inputs).logits
    else:
        logits = torch.cat([policy(input_ids=row).logits for row in inputs.split(1)])
    if logits.shape[-1] < mdp.vocab_size + 2:
        raise ValueError(
            f"the policy's vocabulary has {logits.shape[-1]} tokens; {mdp.vocab_size} actions, "
            f"BOS and PAD need {mdp.vocab_size + 2}"
        )
    return logits[:, prompts.shape[1] - 1 :, : mdp.vocab_size].log_softmax(-1, dtype=dtype)


def token_logps(
    policy: nn.Module,
    mdp: TokenMDP,
    tokens: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
    prompt_index: int | Int[Tensor, " B"] = 0,
) -> Float[Tensor, "B T"]:
    """log pi(y_t | x, y_<t) of each token of given answers, nats; 0 after `lengths`;
    differentiable.

    Renormalised over the actions, in the policy's precision, on its device. The end-of-sequence
    token is scored.

    >>> from gnivo_edu.policies import TabularLM
    >>> mdp = TokenMDP(2, 3, eos_token_id=1)
    >>> answer, length = torch.tensor([[0, 1, 3]]), torch.tensor([2])
    >>> token_logps(TabularLM.from_mdp(mdp), mdp, answer, length).exp()
    tensor([[0.5000, 0.5000, 1.0000]], dtype=torch.float64, grad_fn=<ExpBackward0>)
    """
    device = device_of(policy)
    tokens, lengths = (x.to(device) for x in (tokens, lengths))
    inside = torch.arange(tokens.shape[1], device=device) < lengths[:, None]
    inputs = tokens.masked_fill(~inside, mdp.pad_token_id)
    logps = next_token_logps(policy, mdp, prefixes=inputs[:, :-1], prompt_index=prompt_index)
    chosen = logps.gather(-1, tokens.masked_fill(~inside, 0)[..., None])[..., 0]
    return chosen.masked_fill(~inside, 0.0)


def tabulate(
    policy: nn.Module, mdp: TokenMDP, prompt_index: int = 0, batch_size: int = 1024
) -> Tables:
    """Tables [V**t, V], t = 0..T-1, of the policy's log-probabilities, nats, float64.

    Only the V**(T-1) longest prefixes are fed, `batch_size` at a time; one forward pass gives all
    their shorter prefixes too. Logits are cast to float64, then renormalised over the V actions.
    Rows of finished prefixes are absorbing: 0 at the end-of-sequence token, -inf elsewhere. Raises
    ValueError if the vocabulary is too small, or if the tables would take more than 2 GiB.

    >>> from gnivo_edu.policies import TabularLM
    >>> mdp = TokenMDP(2, 2, eos_token_id=1)
    >>> np.exp(tabulate(TabularLM.from_mdp(mdp), mdp)[1])
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    V, T, eos = mdp.vocab_size, mdp.horizon, mdp.eos_token_id
    check_size(V, T)
    tables = [np.empty((V**t, V)) for t in range(T)]
    with evaluating(policy), torch.inference_mode():
        for start in range(0, V ** (T - 1), batch_size):
            numbers = np.arange(start, min(start + batch_size, V ** (T - 1)))
            prefixes = torch.from_numpy(digits(numbers, V, T - 1))
            law = next_token_logps(
                policy, mdp, prefixes=prefixes, prompt_index=prompt_index, dtype=torch.float64
            )
            logps = law.cpu().numpy()
            for t in range(T):
                # A prefix of t tokens is read off its first extension, the one that goes on with
                # zeros.
                first = numbers % V ** (T - 1 - t) == 0
                tables[t][numbers[first] // V ** (T - 1 - t)] = logps[first, t]
    finished = np.zeros(1, dtype=bool)  # which prefixes of t tokens have ended, t = 0, 1, ...
    for table in tables:
        table[finished] = np.where(np.arange(V) == eos, 0.0, -np.inf)
        finished = (finished[:, None] | (np.arange(V) == eos)).ravel()
    return tables
