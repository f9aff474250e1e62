"""A causal language model goes on from many texts at once: left padding, key-value cache, one step a token.

Texts and stop strings belong to the caller; here are token ids and numbers. A text that has ended leaves the batch, so
that the others do not carry it. Chance is drawn for each text from its own seed, one number a step: a text's draws are
the same in whatever company it is computed. Its logits are too, but for rounding: products of another shape add up in
another order, which moves the last bits, and a token where two were equally likely to them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genre_pipeline.models.token_batches import padded

if TYPE_CHECKING:
    from torch import Tensor

IsOver = Callable[[int, Sequence[int]], bool]
"""(position of the text, its new tokens so far): whether it ends here."""


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen from the logits."""

    temperature: float = 0.0
    """0 takes the likeliest token; above, tokens are drawn, more evenly the higher it is."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that hold this share of the probability (Holtzman et al. 2020)."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that the text holds already become less likely (Keskar et al. 2019)."""


def decode(
    model: Any,
    texts: Sequence[Sequence[int]],
    *,
    max_new: Sequence[int],
    seeds: Sequence[int],
    choice: Choice,
    ends: frozenset[int],
    is_over: IsOver,
) -> list[list[int]]:
    """The new tokens of each text, at most `max_new` of it, without the one of `ends` that ended it.

    `texts` are token ids, each at least one; `model` is a transformers causal model with its head, in evaluation mode.
    """
    import torch

    new: list[list[int]] = [[] for _text in texts]
    chances = _chances(seeds, max(max_new)) if choice.temperature > 0 else None
    with torch.inference_mode():
        batch = _Batch(model, texts, has_memory=choice.repetition_penalty != 1)
        while batch.rows:
            step = len(new[batch.rows[0]])
            logits = penalised(batch.logits, batch.seen, choice.repetition_penalty)  # [b, vocabulary]
            chance = None if chances is None else chances[batch.rows, step]
            chosen = choose(logits, choice, chance)  # [b]
            for row, token in zip(batch.rows, chosen.tolist(), strict=True):
                if token not in ends:
                    new[row].append(token)
            alive = [
                place
                for place, (row, token) in enumerate(zip(batch.rows, chosen.tolist(), strict=True))
                if token not in ends and len(new[row]) < max_new[row] and not is_over(row, new[row])
            ]
            batch.advance(chosen, alive)
    return new


def penalised(logits: "Tensor", seen: "Tensor | None", penalty: float) -> "Tensor":
    """Logits [b, vocabulary] where tokens that are `seen` [b, vocabulary] became `penalty` times less likely."""
    import torch

    if seen is None:
        return logits
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def choose(logits: "Tensor", choice: Choice, chance: np.ndarray | None) -> "Tensor":
    """One token of each row of logits [b, vocabulary]: the likeliest, or the one where `chance` in 0 to 1 [b] falls."""
    import torch

    if chance is None:
        likeliest: Tensor = logits.argmax(-1)  # [b]
        return likeliest
    shares, order = torch.softmax(logits / choice.temperature, -1).sort(stable=True, dim=-1, descending=True)
    reached = shares.cumsum(-1)  # [b, vocabulary]
    # The token that crosses the share is in: there is always one.
    kept = torch.where(reached - shares < choice.top_p, shares, 0.0).cumsum(-1)
    mark = torch.from_numpy(chance).to(kept).unsqueeze(-1) * kept[:, -1:]  # [b, 1]
    # A chance just below 1 rounds to 1 in float32, and would fall behind the last token that is kept.
    last = (kept < kept[:, -1:]).sum(-1, keepdim=True)  # [b, 1]
    place = torch.minimum(torch.searchsorted(kept, mark, right=True), last)  # [b, 1]
    drawn: Tensor = order.gather(-1, place).squeeze(-1)
    return drawn


class _Batch:
    """The texts that have not ended: their cache, the mask of their padding, and the logits of their next token.

    Texts made from one template begin alike: that part is read once, and padding stands between it and the rest.
    """

    def __init__(self, model: Any, texts: Sequence[Sequence[int]], *, has_memory: bool) -> None:
        import torch
        from transformers import DynamicCache

        self._model = model
        self.rows = list(range(len(texts)))
        self._cache: Any = DynamicCache(config=model.config)
        self.seen: Tensor | None = None
        shared = _shared_start(texts)
        self._mask = torch.ones((1, shared), dtype=torch.long, device=model.device)
        if shared:
            self._read(torch.tensor([list(texts[0][:shared])], device=model.device))
            self._cache.batch_repeat_interleave(len(texts))
        ids, mask = padded([text[shared:] for text in texts], pad=0, padding="left")
        self._mask = torch.cat([self._mask.expand(len(texts), -1), torch.from_numpy(mask).to(self._mask)], 1)
        self._read(torch.from_numpy(ids).to(model.device))
        if has_memory:
            # Padding is no part of a text: what it is filled with must not count as said.
            self.seen = torch.zeros_like(self.logits, dtype=torch.bool)  # [b, vocabulary]
            for row, tokens in enumerate(texts):
                self.seen[row, torch.tensor(list(tokens), device=model.device)] = True

    def advance(self, chosen: "Tensor", alive: Sequence[int]) -> None:
        """Read one more token of each text; only those at the places `alive` stay."""
        import torch

        if len(alive) < len(self.rows):
            self.rows = [self.rows[place] for place in alive]
            if not alive:
                return
            places = torch.tensor(alive, device=chosen.device)
            self._cache.batch_select_indices(places)
            chosen, self._mask = chosen[places], self._mask[places]
            self.seen = None if self.seen is None else self.seen[places]
        if self.seen is not None:
            self.seen.scatter_(1, chosen.unsqueeze(1), True)
        self._mask = torch.cat([self._mask, torch.ones_like(chosen).unsqueeze(1)], 1)  # [b, length + 1]
        self._read(chosen.unsqueeze(1))

    def _read(self, ids: "Tensor") -> None:
        # A text begins at position 0 wherever its padding ends.
        positions = (self._mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]  # [b, tokens]
        read = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = read.past_key_values
        self.logits: Tensor = read.logits[:, -1].float()  # [b, vocabulary]


def _shared_start(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts begin with, leaving each at least one; 0 where sharing would save nothing."""
    if len(texts) == 1:
        return 0
    ordered = sorted(map(list, texts))
    first, last = ordered[0], ordered[-1]  # every other lies between the two, and so shares what they share
    limit = min(map(len, texts)) - 1
    return next((place for place in range(limit) if first[place] != last[place]), limit)


def _chances(seeds: Sequence[int], steps: int) -> np.ndarray:
    """Numbers in 0 to 1, [texts, steps]: a text's are its seed's alone."""
    return np.stack([np.random.default_rng(seed).random(steps) for seed in seeds])
