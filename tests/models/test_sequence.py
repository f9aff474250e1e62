import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from genre_pipeline.models.sequence import SequenceModel
from genre_pipeline.models.sequence_config import SequenceConfig

N_ITEMS, CONTENT = 12, 6
ENCODERS = ("transformer", "gru", "lstm", "attention_pooling")
SMALL = SequenceConfig(width=8, blocks=2, heads=2, length=6, dropout=0.2, id_dropout=0.5)


def _model(
    config: SequenceConfig = SMALL, *, content_width: int = CONTENT, event_types: tuple[str, ...] = ()
) -> SequenceModel:
    torch.manual_seed(7)
    content = torch.randn(N_ITEMS, content_width)
    content[3] = 0
    content[11] = 0
    has_id = torch.ones(N_ITEMS, dtype=torch.bool)
    has_id[10:] = False
    return SequenceModel(config, content=content, has_id=has_id, event_types=event_types).eval()


def _windows(rows: list[list[int]]) -> tuple[torch.Tensor, ...]:
    lengths = torch.tensor([len(row) for row in rows])
    items = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for place, row in enumerate(rows):
        items[place, : len(row)] = torch.tensor(row)
    return items, lengths, torch.zeros_like(items), torch.zeros_like(items)


def test_a_state_a_user_and_a_score_an_item() -> None:
    model = _model()
    table = model.table()
    states = model(*_windows([[1, 2, 3], [4]]), table)
    assert (table.shape, states.shape, model.score(states, table).shape) == ((12, 8), (2, 8), (2, 12))


@pytest.mark.parametrize("encoder", ENCODERS)
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=5), st.lists(st.integers(0, 11), min_size=1, max_size=6))
def test_padding_never_changes_a_state(encoder: str, short: list[int], other: list[int]) -> None:
    model = _model(SMALL.model_copy(update={"encoder": encoder}))
    table = model.table()
    alone = model(*_windows([short]), table)[0]
    together = model(*_windows([short, other]), table)[0]
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_position_sees_only_what_came_before(encoder: str) -> None:
    model = _model(SMALL.model_copy(update={"encoder": encoder}))
    items, *others = _windows([[1, 2, 3, 4]])
    before = model.states(model.items(items), *others)
    items[0, 3] = 9
    after = model.states(model.items(items), *others)
    torch.testing.assert_close(before[0, :3], after[0, :3])
    assert not torch.allclose(before[0, 3], after[0, 3])


def test_an_item_without_interactions_is_its_gated_content() -> None:
    model = _model()
    item = torch.tensor([10])
    content = model.items.content[item]
    assert model.items.gate is not None
    assert model.items.project is not None
    expected = torch.sigmoid(model.items.gate(content)) * model.items.project(content)
    torch.testing.assert_close(model.items(item), expected)


def test_an_item_without_content_is_its_id_and_one_without_both_is_unknown() -> None:
    model = _model()
    torch.testing.assert_close(model.items(torch.tensor([3])), model.items.ids.weight[3:4])
    assert model.items(torch.tensor([11])).abs().max() == 0
    assert model.items.represented().tolist() == [True] * 11 + [False]


def test_without_content_only_ids_count() -> None:
    model = _model(content_width=0)
    torch.testing.assert_close(model.table()[:10], model.items.ids.weight[:10])
    assert model.items.represented().tolist() == [True] * 10 + [False] * 2


def test_cosine_scores_lie_within_one_over_temperature() -> None:
    model = _model(SMALL.model_copy(update={"similarity": "cosine", "temperature": 0.5}))
    table = model.table()
    scores = model.score(model(*_windows([[1, 2], [5]]), table), table)
    assert scores.abs().max() <= 2.0 + 1e-5
    paired = model.score_pairs(model(*_windows([[1, 2], [5]]), table), table[:2])
    torch.testing.assert_close(paired, scores[[0, 1], [0, 1]])


def test_time_gaps_are_read_only_if_asked() -> None:
    items, lengths, gaps, events = _windows([[1, 2, 3]])
    late = gaps.clone()
    late[0, 2] = 20
    for reads, config in ((True, SMALL), (False, SMALL.model_copy(update={"time_gaps": False}))):
        model = _model(config)
        table = model.table()
        soon = model(items, lengths, gaps, events, table)
        assert torch.equal(soon, model(items, lengths, late, events, table)) is not reads


def test_event_types_are_read_where_there_are_any() -> None:
    items, lengths, gaps, unknown = _windows([[1, 2, 3]])
    bought = unknown.clone()
    bought[0, 2] = 2
    for types in ((), ("buy", "view")):
        model = _model(event_types=types)
        table = model.table()
        same = torch.equal(model(items, lengths, gaps, unknown, table), model(items, lengths, gaps, bought, table))
        assert same is not bool(types)
    kept, blind = _model(event_types=("buy", "view")).state_dict(), _model().state_dict()
    assert set(kept) - set(blind) == {"events.weight"}


def test_another_catalogue_keeps_known_items_and_reads_new_ones_by_content() -> None:
    model = _model()
    known = torch.tensor([-1, 5, 3])
    content = torch.cat([torch.randn(1, CONTENT), model.items.content[[5, 3]]])
    moved = model.on_catalogue(known, content)
    torch.testing.assert_close(moved.table()[1:], model.table()[[5, 3]])
    assert moved.items.has_id.tolist() == [False, True, True]
    torch.testing.assert_close(
        moved(*_windows([[1, 2]]), moved.table()), model(*_windows([[5, 3]]), model.table()), rtol=1e-5, atol=1e-6
    )


def test_id_dropout_shows_items_by_content_but_never_hides_one_without_content() -> None:
    model = _model(SMALL.model_copy(update={"id_dropout": 0.99})).train()
    everything = model.items(torch.arange(N_ITEMS))
    torch.testing.assert_close(everything[3], model.items.ids.weight[3])
    whole = model.eval().items(torch.arange(N_ITEMS))
    assert np.mean((everything != whole).any(dim=1).numpy()[:10]) > 0.5


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="not a multiple of heads"):
        SequenceConfig(width=10, heads=4)
