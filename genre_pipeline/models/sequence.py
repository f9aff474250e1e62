"""The user-sequence network: what a user takes next, from the items the user had, one file, read bottom-up.

Shapes: B users, L interactions of a window (oldest first, padded at the end), D width, C content width, N items.
Data access, losses and training loops do not belong here.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from genre_pipeline.models.sequence_config import SequenceConfig

TIME_BUCKETS = 32
"""Bucket 0 means no gap is known; bucket b > 0 means a gap of about 2^(b-1) seconds, the last one everything longer."""
_INITIAL_STD = 0.05


class ItemTable(nn.Module):
    """Item representations: an embedding of the id plus a gated projection of frozen content vectors.

    The gate is computed from the content itself and closed where there is none (a row of zeros). An item without
    training interactions has no id embedding to trust and is represented by content alone.
    """

    def __init__(self, width: int, content: Tensor, has_id: Tensor, id_dropout: float) -> None:
        super().__init__()
        n_items, content_width = content.shape
        self.id_dropout = id_dropout
        self.ids = nn.Embedding(n_items, width)
        nn.init.normal_(self.ids.weight, std=_INITIAL_STD)
        self.project = nn.Linear(content_width, width, bias=False) if content_width else None
        self.gate = nn.Linear(content_width, width) if content_width else None
        self.content: Tensor
        self.has_id: Tensor
        self.register_buffer("content", content.float())  # [n_items, C]
        self.register_buffer("has_id", has_id.bool())  # [n_items]

    def forward(self, items: Tensor, content: Tensor | None = None) -> Tensor:
        """Positions int64 [N] -> representations [N, D]. `content` [N, C] stands in for the table's own."""
        shown = self.has_id[items]  # [N]
        if self.project is None or self.gate is None:
            return self.ids(items) * shown.unsqueeze(-1)  # type: ignore[no-any-return]
        content = self.content[items] if content is None else content  # [N, C]
        has_content = (content != 0).any(dim=-1)  # [N]
        if self.training and self.id_dropout:
            kept = torch.rand(items.shape, device=items.device) >= self.id_dropout
            shown = shown & (kept | ~has_content)
        gate = torch.sigmoid(self.gate(content)) * has_content.unsqueeze(-1)  # [N, D]
        return self.ids(items) * shown.unsqueeze(-1) + gate * self.project(content)  # type: ignore[no-any-return]

    def represented(self) -> Tensor:
        """bool [n_items]: items that anything is known of, by id or by content."""
        return self.has_id | (self.content != 0).any(dim=-1)


class Block(nn.Module):
    """Pre-norm causal self-attention and a feed-forward layer. Dropout acts on the residual branches only."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.attention_out = nn.Linear(config.width, config.width)
        self.forward_norm = nn.LayerNorm(config.width)
        self.forward_in = nn.Linear(config.width, config.expansion * config.width)
        self.forward_out = nn.Linear(config.expansion * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]; position l sees positions up to l."""
        x = x + self.dropout(self._attention(self.attention_norm(x)))
        hidden = functional.gelu(self.forward_in(self.forward_norm(x)))  # [B, L, expansion * D]
        return x + self.dropout(self.forward_out(hidden))  # type: ignore[no-any-return]

    def _attention(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        packed = self.query_key_value(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # each [B, heads, L, D / heads]
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))  # type: ignore[no-any-return]


class Recurrence(nn.Module):
    """A recurrent layer in a block's place (GRU4Rec, arXiv 1511.06939), on a residual branch with a norm before it."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        kind = nn.GRU if config.encoder == "gru" else nn.LSTM
        self.norm = nn.LayerNorm(config.width)
        self.recurrent = kind(config.width, config.width, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]; position l sees positions up to l."""
        states, _last = self.recurrent(self.norm(x))  # [B, L, D]
        return x + self.dropout(states)  # type: ignore[no-any-return]


class AttentionPooling(nn.Module):
    """The past as a weighted mean: one learned query a head asks every position, whoever the user is (cf. NRMS)."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width)
        self.query = nn.Parameter(torch.randn(config.heads, config.width // config.heads))
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]; position l is the mean of positions up to l."""
        batch, length, width = x.shape
        packed = self.key_value(self.norm(x)).view(batch, length, 2, self.heads, width // self.heads)
        key, value = packed.permute(2, 0, 3, 1, 4)  # each [B, heads, L, D / heads]
        query = self.query[None, :, None].expand_as(key)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, width)))  # type: ignore[no-any-return]


_ENCODERS: dict[str, type[nn.Module]] = {
    "transformer": Block,
    "gru": Recurrence,
    "lstm": Recurrence,
    "attention_pooling": AttentionPooling,
}


class SequenceModel(nn.Module):
    """User tower over item representations; next-item scores by dot product or cosine.

    `content` float32 [n_items, C] (C may be 0) and `has_id` bool [n_items] describe the catalogue; `event_types` are
    the kinds of event that the network tells apart, number k of them being k + 1 and 0 any other. Padding lies at the
    end of a window, where no encoder lets a real position see it; positions are counted from the window's end, so
    that the latest interaction always has position 0.
    """

    def __init__(
        self, config: SequenceConfig, *, content: Tensor, has_id: Tensor, event_types: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.config, self.event_types = config, tuple(event_types)
        self.computes_again = False
        """Whether training computes each block's activations again in the backward pass instead of keeping them."""
        self.items = ItemTable(config.width, content, has_id, config.id_dropout)
        self.positions = nn.Embedding(config.length, config.width)
        self.gaps = nn.Embedding(TIME_BUCKETS, config.width) if config.time_gaps else None
        types = len(self.event_types)
        self.events = nn.Embedding(1 + types, config.width, padding_idx=0) if types else None
        self.blocks = nn.ModuleList(_ENCODERS[config.encoder](config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.positions.weight, std=_INITIAL_STD)
        if self.gaps is not None:
            nn.init.normal_(self.gaps.weight, std=_INITIAL_STD)
        if self.events is not None:
            nn.init.normal_(self.events.weight[1:], std=_INITIAL_STD)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self.items.ids.num_embeddings

    def states(self, items: Tensor, lengths: Tensor, gaps: Tensor, events: Tensor) -> Tensor:
        """User states after each interaction.

        Representations [B, L, D], lengths int64 [B], gap buckets and event types int64 [B, L] -> [B, L, D]; what lies
        at or beyond a row's length is meaningless.
        """
        steps = torch.arange(items.shape[1], device=items.device)  # [L]
        from_end = (lengths.unsqueeze(-1) - 1 - steps).clamp(min=0)  # [B, L]
        x = items * math.sqrt(self.config.width) + self.positions(from_end)  # [B, L, D]
        if self.gaps is not None:
            x = x + self.gaps(gaps)
        if self.events is not None:
            x = x + self.events(events)
        x = self.dropout(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.computes_again and self.training else block(x)
        return self.norm(x)  # type: ignore[no-any-return]

    def forward(self, items: Tensor, lengths: Tensor, gaps: Tensor, events: Tensor, table: Tensor) -> Tensor:
        """The state after a window's last interaction.

        Positions int64 [B, L], lengths [B], gap buckets and event types [B, L], the catalogue's representations
        [n_items, D] -> [B, D].
        """
        states = self.states(functional.embedding(items, table), lengths, gaps, events)
        return states[torch.arange(len(lengths), device=items.device), lengths - 1]

    def table(self) -> Tensor:
        """Representations of the whole catalogue, [n_items, D]."""
        return self.items(torch.arange(self.n_items, device=self.items.has_id.device))  # type: ignore[no-any-return]

    def score(self, states: Tensor, items: Tensor) -> Tensor:
        """States [B, D] and representations [N, D] -> scores [B, N]."""
        if self.config.similarity == "cosine":
            states, items = functional.normalize(states, dim=-1), functional.normalize(items, dim=-1)
        return (states / self.config.temperature) @ items.T

    def score_pairs(self, states: Tensor, items: Tensor) -> Tensor:
        """States [T, D] with one representation each [T, D] -> scores [T]."""
        if self.config.similarity == "cosine":
            states, items = functional.normalize(states, dim=-1), functional.normalize(items, dim=-1)
        return (states * items).sum(dim=-1) / self.config.temperature

    def on_catalogue(self, known: Tensor, content: Tensor) -> "SequenceModel":
        """The same network over another catalogue.

        `known` int64 [items] gives each item's position in this model, -1 where it is new; new items are represented by
        `content` [items, C] alone.
        """
        is_known = known >= 0
        has_id = torch.zeros(len(known), dtype=torch.bool)
        has_id[is_known] = self.items.has_id[known[is_known]]
        moved = SequenceModel(self.config, content=content, has_id=has_id, event_types=self.event_types)
        kept = {name: tensor for name, tensor in self.state_dict().items() if name not in _OF_CATALOGUE}
        moved.load_state_dict(kept, strict=False)
        with torch.no_grad():
            moved.items.ids.weight.zero_()
            moved.items.ids.weight[is_known] = self.items.ids.weight[known[is_known]]
        return moved.eval()


_OF_CATALOGUE = frozenset({"items.ids.weight", "items.content", "items.has_id"})
