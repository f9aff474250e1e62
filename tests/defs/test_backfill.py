"""Any day can be computed again: the same bytes, and nothing that is newer moves back."""

import shutil

import pytest

from genre_pipeline.contracts.names import CHALLENGER, CHAMPION, SEQUENCE_MODEL
from tests.defs.worlds import NIGHTS, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # whole nights, on however busy a machine

BEFORE, DAY = NIGHTS[-2:]
TABLES = {
    "interactions", "items", "users", "rejected_rows", "rejected_rows.interactions", "rejected_rows.items",
    "rejected_rows.users", "item_texts", "item_bag_of_words", "item_tfidf", "item_text_weighted", "item_text_vectors",
    "item_image_vectors", "item_audio_vectors", "item_vectors", "rejected_media", "rejected_media.image",
    "rejected_media.audio", "item_statistics", "user_statistics", "user_histories", "user_vectors",
    "training_features", "sequence_model", "champion", "hybrid_settings", "evaluation", "recommendations",
    "similar_items", "popular_items", "online_metrics", "run_report",
}  # fmt: skip


def test_a_past_day_computed_again_gives_the_same_bytes_and_moves_nothing_back(own_world: World) -> None:
    models = own_world.project.models
    aliases = [models.alias(SEQUENCE_MODEL, name) for name in (CHAMPION, CHALLENGER)]
    manifests, published = own_world.manifests(BEFORE), own_world.published()
    assert manifests.keys() == TABLES
    for table in TABLES:
        shutil.rmtree(own_world.project.partitions.folder(table, BEFORE))

    again = own_world.genre("run", "--date", BEFORE)

    assert again.code == 0, again.notes
    assert own_world.manifests(BEFORE) == manifests
    assert own_world.published() == published
    assert published is not None
    assert published.startswith(DAY)
    assert f"{BEFORE} done. Published: {published}" in again.notes
    assert [models.alias(SEQUENCE_MODEL, name) for name in (CHAMPION, CHALLENGER)] == aliases
