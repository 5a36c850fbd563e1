"""Chunked scores are the dense ones: values and gradients, memory, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gnivo_edu.bench.score import peak_bytes
from gnivo_edu.policies.chunked import chunked_scores, chunked_weighted_sum
from gnivo_edu.policies.dense import FIELDS, dense_scores
from gnivo_edu.policies.heads import Head
from tests.policies.head_laws import HEADS, gap, law

M, H, V = 7, 5, 11
SUBSETS = [FIELDS, FIELDS[:1], FIELDS[1:2], FIELDS[2:], FIELDS[:2], FIELDS[1:]]


def tensors(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Hidden states, weight, bias; targets that are actions of every head above; hidden states of a
    reference.
    """
    g = torch.Generator().manual_seed(seed)
    x, w, b, r = (
        torch.randn(*s, generator=g, dtype=torch.float64) for s in ((M, H), (V, H), (V,), (M, 3))
    )
    y = torch.tensor([2, 3, 5, 6, 7, 3, 2])
    return *(t.to(dtype).requires_grad_() for t in (x, w, b)), y, r


def reference_of(name: str, hidden: Tensor) -> tuple[Tensor, Head]:
    weight = torch.randn(V + 1, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    head = Head(weight=weight, softcap=3.0, num_actions=HEADS[name].get("num_actions", V))
    return hidden, replace(head, leave_out=HEADS[name].get("leave_out", ()))


def coefficients(fields: tuple[str, ...]) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)
    return {name: torch.randn(M, generator=g, dtype=torch.float64) for name in fields}


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_values_and_gradients_are_the_dense_ones(
    name: str, with_bias: bool, chunk: int | None
) -> None:
    x, w, b, y, r = tensors()
    leaves = [x, w, b] if with_bias else [x, w]
    head, reference = law(name, w, b if with_bias else None), reference_of(name, r)
    for fields in SUBSETS:
        cs = coefficients(fields)
        dense = dense_scores(x, head, y, fields, reference)
        ours = chunked_scores(x, head, y, fields, reference, chunk)
        assert list(ours) == list(fields)
        assert gap(ours.values(), dense.values()) < 1e-12
        total = chunked_weighted_sum(x, head, y, cs, reference, chunk)
        expected = sum((cs[k] * dense[k]).sum() for k in fields)
        true = torch.autograd.grad(expected, leaves)
        assert gap([total], [expected]) < 1e-12
        assert (
            gap(torch.autograd.grad(sum((cs[k] * ours[k]).sum() for k in fields), leaves), true)
            < 1e-12
        )
        assert gap(torch.autograd.grad(3.0 * total, leaves), [3.0 * g for g in true]) < 1e-11


@pytest.mark.parametrize("name", ["plain", "all of it"])
def test_gradcheck(name: str) -> None:
    x, w, b, y, r = tensors()

    def scores(x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            chunked_scores(x, law(name, w, b), y, FIELDS, reference_of(name, r), 3).values()
        )

    assert torch.autograd.gradcheck(scores, (x, w, b))


def test_what_does_not_require_a_gradient_gets_none_and_the_reference_never_does() -> None:
    x, w, _, y, r = tensors()
    r.requires_grad_()
    hidden, other = reference_of("plain", r)
    other = replace(other, weight=other.weight.requires_grad_())
    for frozen in (w.detach(), w):
        ours = chunked_scores(x, Head(weight=frozen), y, FIELDS, (hidden, other))
        total = chunked_weighted_sum(
            x, Head(weight=frozen), y, coefficients(FIELDS), (hidden, other)
        )
        for loss in (ours["policy_kl"].sum(), total):
            loss.backward()
            assert x.grad is not None
            assert (w.grad is None) == (frozen is not w)
    assert r.grad is None
    assert other.weight.grad is None
    with torch.no_grad():
        assert not chunked_weighted_sum(
            x, Head(weight=w), y, coefficients(FIELDS[:2])
        ).requires_grad


def test_a_tied_weight_gets_both_gradients() -> None:
    _, w, _, y, _ = tensors()
    dense = torch.autograd.grad(dense_scores(w[y], Head(weight=w), y)["policy_logps"].sum(), w)
    ours = torch.autograd.grad(
        chunked_scores(w[y], Head(weight=w), y, chunk=2)["policy_logps"].sum(), w
    )
    known = chunked_weighted_sum(w[y], Head(weight=w), y, {"policy_logps": torch.ones(M)})
    assert gap(ours, dense) < 1e-12
    assert gap(torch.autograd.grad(known, w), dense) < 1e-12


def test_the_kl_is_zero_with_itself_and_survives_probabilities_that_underflow() -> None:
    x, w, _, y, _ = tensors()
    itself = chunked_scores(x, Head(weight=w), y, FIELDS, (x.detach(), Head(weight=w.detach())))
    assert float(itself["policy_kl"].detach().abs().max()) < 1e-14
    sharp = chunked_scores(
        x, Head(weight=w, temperature=1e-3), y, FIELDS, (x, Head(weight=w, temperature=1e-3))
    )
    assert all(bool(value.isfinite().all()) for value in sharp.values())
    far = (
        x.detach(),
        Head(weight=-w.detach(), temperature=1e-3),
    )  # e^-1000s, which is 0 in float64
    dense = dense_scores(x, Head(weight=w), y, FIELDS, far)
    assert torch.allclose(
        chunked_scores(x, Head(weight=w), y, FIELDS, far)["policy_kl"],
        dense["policy_kl"],
        rtol=1e-13,
    )


def test_half_precision_is_summed_in_float32() -> None:
    """bfloat16 inputs, taken as exact numbers: only rounding of float32 stays, where logits in
    bfloat16 lose 1e-2.
    """
    g = torch.Generator().manual_seed(0)
    x, w = ((torch.randn(*s, generator=g) / 2).to(torch.bfloat16) for s in ((6, 64), (20_000, 64)))
    y = torch.arange(6) * 3000
    cs = {name: torch.randn(6, generator=g) for name in FIELDS[:2]}
    xt, wt = x.double().requires_grad_(), w.double().requires_grad_()
    true = dense_scores(xt, Head(weight=wt), y)
    true_gradients = torch.autograd.grad(sum((cs[k] * true[k]).sum() for k in cs), [xt, wt])
    rounded = dense_scores(x, Head(weight=w), y)
    xs, ws = x.clone().requires_grad_(), w.clone().requires_grad_()
    ours = chunked_scores(xs, Head(weight=ws), y, chunk=4)
    for name in cs:
        assert ours[name].dtype == torch.float32
        assert gap([ours[name]], [true[name]]) < 2e-5
        assert gap([rounded[name]], [true[name]]) > 100 * gap([ours[name]], [true[name]])
    total = chunked_weighted_sum(xs, Head(weight=ws), y, cs, chunk=4)
    for loss in (sum((cs[k] * ours[k]).sum() for k in cs), total):
        for found, expected in zip(
            torch.autograd.grad(loss, [xs, ws]), true_gradients, strict=True
        ):
            assert found.dtype == torch.bfloat16
            # One rounding to bfloat16, at the end: half a unit in the last of 8 bits.
            assert bool(((found.double() - expected).abs() <= 2**-8 * expected.abs() + 1e-6).all())


def test_autocast_does_not_lower_the_precision() -> None:
    x, w, _, y, _ = tensors(dtype=torch.float32)
    expected = chunked_scores(x, Head(weight=w), y)["policy_logps"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(chunked_scores(x, Head(weight=w), y)["policy_logps"], expected)


def test_backward_of_a_weighted_sum_is_for_once() -> None:
    x, w, _, y, _ = tensors()
    total = chunked_weighted_sum(x, Head(weight=w), y, coefficients(FIELDS[:1]))
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="handed over once"):
        total.backward()


@pytest.mark.parametrize("fields", [FIELDS[:1], FIELDS])
@pytest.mark.slow
def test_memory_stays_far_below_the_dense_computation(fields: tuple[str, ...]) -> None:
    tokens, vocabulary = 512, 4096
    x, y = torch.randn(tokens, 8, requires_grad=True), torch.randint(vocabulary, (tokens,))
    w = torch.randn(vocabulary, 8, requires_grad=True)
    reference = (x.detach(), Head(weight=torch.randn(vocabulary, 8)))
    head, cs = Head(weight=w), {name: torch.randn(tokens) for name in fields}

    def forget() -> None:
        x.grad = w.grad = None

    def dense() -> None:
        sum(
            (c * dense_scores(x, head, y, fields, reference)[k]).sum() for k, c in cs.items()
        ).backward()

    def recomputed() -> None:
        scores = chunked_scores(x, head, y, fields, reference, chunk=16)
        sum((c * scores[k]).sum() for k, c in cs.items()).backward()

    def known() -> None:
        chunked_weighted_sum(x, head, y, cs, reference, chunk=16).backward()

    logits, gradient = 4 * tokens * vocabulary, 4 * w.numel()
    peaks = []
    for call in (dense, recomputed, known):
        peaks.append(peak_bytes(call) - gradient)
        forget()
    assert peaks[0] > 2 * logits
    assert max(peaks[1:]) < peaks[0] / 8
    # 16 of 512 tokens, at most 3 arrays of them, and what is small.
    assert max(peaks[1:]) < (3 if len(fields) > 1 else 1) * logits / 32 + 150_000
    with torch.no_grad():  # and no gradient where none is asked for
        assert peak_bytes(lambda: chunked_weighted_sum(x, head, y, cs, reference, 1)) < gradient


def test_requests_that_do_not_fit_are_refused_in_one_line() -> None:
    x, w, b, y, r = tensors()
    head = Head(weight=w)
    for call, match in (
        (lambda: chunked_scores(x, head, y, ("logps",)), "known: policy_logps, entropy, policy_kl"),
        (lambda: chunked_scores(x, head, y, FIELDS), "policy_kl needs a reference"),
        (lambda: dense_scores(x, head, y, FIELDS), "policy_kl needs a reference"),
        (lambda: chunked_scores(x, head, y[:3]), r"hidden must be \[M, 5\] and targets \[M\]"),
        (lambda: chunked_scores(x, head, y, chunk=0), "chunk must be at least 1"),
        (lambda: chunked_scores(x, head, y, kl_top_k=0), "kl_top_k must be at least 1"),
        (lambda: chunked_scores(x, head, y + V), "target 13 is no action"),
        (lambda: chunked_scores(x, replace(head, leave_out=(5,)), y), "target 5 is no action"),
        (
            lambda: chunked_scores(x, head, y, FIELDS, (r[:2], Head(weight=w[:, :3]))),
            "reference's hidden states must",
        ),
        (
            lambda: chunked_scores(x, head, y, FIELDS, (r, Head(weight=w[:9, :3]))),
            "the same actions",
        ),
        (
            lambda: chunked_scores(x, head, y, FIELDS, (r, Head(weight=w[:, :3], leave_out=(1,)))),
            "the same actions",
        ),
        (
            lambda: chunked_weighted_sum(x, head, y, {"entropy": b}),
            "coefficients of entropy must be",
        ),
        (lambda: Head(weight=w, temperature=0.0), "must be positive"),
        (lambda: Head(weight=w, num_actions=V + 1), r"num_actions must be in 1..11"),
        (lambda: Head(weight=w, leave_out=tuple(range(V))), "and not all of them"),
        (lambda: Head(weight=w, bias=b[:2]), r"bias must be \[11\]"),
    ):
        with pytest.raises(ValueError, match=match) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("name", HEADS)
def test_the_likeliest_terms_of_the_kl_are_the_dense_ones(name: str, chunk: int | None) -> None:
    x, w, b, y, r = tensors()
    head, reference = law(name, w, b), reference_of(name, r)
    exact = dense_scores(x, head, y, FIELDS, reference)["policy_kl"]
    for k in (1, 3, V + 5):
        dense = dense_scores(x, head, y, FIELDS, reference, kl_top_k=k)
        ours = chunked_scores(x, head, y, FIELDS, reference, chunk, kl_top_k=k)
        assert gap(ours.values(), dense.values()) < 1e-12
        assert (gap([ours["policy_kl"]], [exact]) < 1e-12) == (k > V)
        cs = coefficients(FIELDS)
        total = chunked_weighted_sum(x, head, y, cs, reference, chunk, kl_top_k=k)
        true = torch.autograd.grad(sum((cs[f] * dense[f]).sum() for f in FIELDS), [x, w, b])
        later = torch.autograd.grad(sum((cs[f] * ours[f]).sum() for f in FIELDS), [x, w, b])
        assert gap(torch.autograd.grad(total, [x, w, b]), true) < 1e-12
        assert gap(later, true) < 1e-12


def test_the_likeliest_terms_by_hand_and_their_slope_by_differences() -> None:
    """By the policy's k likeliest tokens, neither law renormalised: it may lie below 0."""
    p, q = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    z = p.log()[:, None].clone().requires_grad_()

    def kl(weight: Tensor, k: int) -> Tensor:
        reference = (one, Head(weight=q.log()[:, None]))
        target = torch.tensor([0])
        return chunked_scores(one, Head(weight=weight), target, FIELDS[2:], reference, kl_top_k=k)[
            "policy_kl"
        ][0]

    terms = p * (p / q).log()
    assert [kl(z, k).item() for k in (1, 2)] == pytest.approx([float(terms[0])] * 2, abs=1e-15)
    assert kl(z, 1).item() < 0 < kl(z, 3).item()
    assert torch.autograd.gradcheck(lambda w: kl(w, 2), z)
