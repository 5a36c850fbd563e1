"""Keys and values of rows that grow by a token at a time: those of a prompt are held once for all
of its rows, those of the answers lie in one memory and are written in place.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gnivo_edu.policies.rooms import move_rows


class SharedKeys:
    """What the queries of B rows see: their prompt, and their own answer so far.

    Begins with the cache `past` of prompts that are padded on the left where `mask` [N, P] is
    false, one row each. `order`: in which order the numbers of a key are held, those of the queries
    likewise; `queries`: how many heads of queries share one head of keys and values.
    """

    def __init__(
        self,
        past: Any,
        mask: Bool[Tensor, "N P"],
        queries: int,
        order: Int[Tensor, " size"] | None = None,
    ) -> None:
        first = past.layers[0].keys
        N, self._heads, self.length, self.size = first.shape
        self._queries = queries
        keys = [layer.keys if order is None else layer.keys[..., order] for layer in past.layers]
        # Of each layer keys [N heads, size, P], that lie as [N heads, P, size], and values.
        self._prompts = [
            (x.contiguous().flatten(0, 1).mT, layer.values.contiguous().flatten(0, 1))
            for x, layer in zip(keys, past.layers, strict=True)
        ]
        self._padding = (~mask).sum(1)
        self._hidden: Tensor | None = None
        if not bool(mask.all()):
            nothing = torch.zeros_like(mask, dtype=first.dtype)
            hidden = nothing.masked_fill(~mask, -torch.inf)
            self._hidden = hidden.repeat_interleave(self._heads, 0)[:, None]
        self._places = _Places(torch.arange(N), prompts=N)
        # Of the answers: layer, key or value, row, head, token, size.
        self._rooms = first.new_empty(len(past.layers), 2, N, self._heads, 0, self.size)
        self.filled = 0
        self._work: _Work | None = None

    def repeated(self, rows: Int[Tensor, " B"], room: int) -> SharedKeys:
        """Copy that holds these rows, each as often as it is named, with room for that many
        tokens.
        """
        other = copy.copy(self)
        shape = list(self._rooms.shape)
        shape[2], shape[4] = len(rows), self.filled + room
        other._rooms = self._rooms.new_empty(shape)
        for old, new in zip(self._rooms, other._rooms, strict=True):
            new[..., : self.filled, :] = old[:, rows, :, : self.filled]
        other._places = _Places(self._places.owner[rows], prompts=len(self._padding))
        other._work = None
        return other

    def keep(self, rows: Int[Tensor, " B"]) -> None:
        """Hold these rows only, in this order."""
        self._rooms = move_rows(self._rooms, rows, filled=self.filled)
        self._work = None
        owner = self._places.owner[rows]
        alive, among = (torch.from_numpy(x) for x in np.unique(owner.numpy(), return_inverse=True))
        if 2 * len(alive) <= len(self._padding):  # else nothing is copied for a few prompts
            self._prompts = [
                (self._of(keys.mT, alive).mT, self._of(values, alive))
                for keys, values in self._prompts
            ]
            if self._hidden is not None:
                self._hidden = self._of(self._hidden, alive)
            self._padding = self._padding[alive]
            owner = among
        self._places = _Places(owner, prompts=len(self._padding))

    def _of(self, x: Float[Tensor, "NH a b"], prompts: Int[Tensor, " n"]) -> Tensor:
        return x.unflatten(0, (-1, self._heads))[prompts].flatten(0, 1)

    @property
    def bytes(self) -> int:
        """Size of the keys and values that are held."""
        return self._rooms.nbytes + sum(x.nbytes for pair in self._prompts for x in pair)

    @property
    def capacity(self) -> int:
        """How many tokens a row can have, its prompt included."""
        return self.length + self._rooms.shape[-2]

    def position(self) -> Any:
        """Where the next token stands, counted from the first of its prompt: one number, or one a
        row where prompts are padded.
        """
        at = self.length + self.filled
        return at if self._hidden is None else at - self._padding[self._places.owner]

    def advance(self) -> tuple[Float[Tensor, "B heads G size"], Float[Tensor, "L 2 B heads size"]]:
        """Room for one more token: where its queries, and its keys and values, are written to."""
        if self._work is None:
            keys = self._prompts[0][0]
            self._work = _Work(self._places, self._heads, self._queries, keys=keys)
        self.filled += 1
        answers = self._rooms[..., : self.filled, :].flatten(2, 3)
        self._keys, self._values = answers[:, 0].mT.unbind(0), answers[:, 1].unbind(0)
        return self._work.query, self._rooms[..., self.filled - 1, :]

    def attend(self, layer: int) -> Float[Tensor, "B H"]:
        """What the one query a row of this layer gathers from its prompt and from its answer so
        far; overwritten by the next call.
        """
        work, places = self._work, self._places
        assert work is not None
        keys, values = self._prompts[layer]
        # Rows of one prompt stand side by side, so that its keys are read once.
        places.bring(work.query_of_rows, work.asked_of_rows)
        if self._hidden is None:
            torch.bmm(work.asked, keys, out=work.scores)
        else:
            torch.baddbmm(self._hidden, work.asked, keys, out=work.scores)
        on_answer = torch.bmm(work.query_of_heads, self._keys[layer]).view(work.shape)
        scores = [places.take(work.scores_of_rows), on_answer]
        weights = torch.cat(scores, -1).softmax(-1)
        on_prompt, on_answer = weights.split([self.length, self.filled], -1)
        places.bring(on_prompt, work.weights_of_rows)
        torch.bmm(work.weights, values, out=work.gathered)
        from_answer = torch.bmm(on_answer.flatten(0, -3), self._values[layer]).view(work.shape)
        torch.add(from_answer, places.take(work.gathered_of_rows), out=work.sum_of_rows)
        return work.sum


class _Work:
    """Memory that each layer of each token writes anew, of queries, scores and weights on prompts:
    heads of prompts first, for products with their keys; and the same memory `of_rows`.
    """

    def __init__(self, places: _Places, heads: int, queries: int, *, keys: Tensor) -> None:
        size, length = keys.shape[1:]
        B, N, K = len(places.owner), places.prompts, places.most
        self.shape = (*places.lead, heads, queries, -1)
        self.query = keys.new_empty(B, heads, queries, size)
        self.query_of_heads = self.query.flatten(0, 1)
        self.query_of_rows = self.query.view(self.shape)
        self.sum = keys.new_empty(B, heads * queries * size)
        self.sum_of_rows = self.sum.view(*self.shape[:-1], size)

        def grid(numbers: int) -> tuple[Tensor, Tensor]:
            # An empty place is never written: zeros there can make no nan.
            x = keys.new_zeros(N, heads, K, queries, numbers)
            return x.view(N * heads, K * queries, numbers), x.transpose(1, 2)

        self.asked, self.asked_of_rows = grid(size)
        self.scores, self.scores_of_rows = grid(length)
        self.weights, self.weights_of_rows = grid(length)
        self.gathered, self.gathered_of_rows = grid(size)


class _Places:
    """Which prompt each row continues, `owner` [B], and the way from rows to prompts and back.

    Each prompt has as many places as the one with the most rows, so that some may be empty. `lead`:
    the first dimensions of rows: prompt and place where rows fill all places in order, else row.
    """

    def __init__(self, owner: Int[Tensor, " B"], prompts: int) -> None:
        self.owner, self.prompts = owner, prompts
        of = owner.numpy()
        counts, rows = np.bincount(of, minlength=prompts), np.arange(len(of))
        order = of.argsort(kind="stable")
        rank = np.empty_like(of)
        rank[order] = rows - (counts.cumsum() - counts)[of[order]]
        self.most = int(counts.max())
        full = len(of) == prompts * self.most
        self._straight = full and bool((of * self.most + rank == rows).all())
        self.lead = (prompts, self.most) if self._straight else (len(of),)
        self._rank = torch.from_numpy(rank)

    def bring(self, rows: Float[Tensor, "*lead h G n"], to: Float[Tensor, "N K h G n"]) -> None:
        """Write rows into the places of their prompts."""
        if self._straight:
            to.copy_(rows)
        else:
            to[self.owner, self._rank] = rows

    def take(self, places: Float[Tensor, "N K h G n"]) -> Float[Tensor, "*lead h G n"]:
        """The way back."""
        return places if self._straight else places[self.owner, self._rank]
