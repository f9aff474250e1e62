"""Names of the things the pipeline makes. Asset key = Feast feature view = folder or SQL table = the constant here."""

from enum import StrEnum

INTERACTIONS = "interactions"
ITEMS = "items"
USERS = "users"
REJECTED_ROWS = "rejected_rows"
REJECTED_MEDIA = "rejected_media"

ITEM_TEXTS = "item_texts"
ITEM_BAG_OF_WORDS = "item_bag_of_words"
ITEM_TFIDF = "item_tfidf"
ITEM_TEXT_WEIGHTED = "item_text_weighted"
ITEM_TEXT_VECTORS = "item_text_vectors"
ITEM_TEXT_CAUSAL = "item_text_causal"
ITEM_IMAGE_VECTORS = "item_image_vectors"
ITEM_AUDIO_VECTORS = "item_audio_vectors"
ITEM_VECTORS = "item_vectors"
ITEM_STATISTICS = "item_statistics"
USER_STATISTICS = "user_statistics"
USER_HISTORIES = "user_histories"
USER_VECTORS = "user_vectors"
ONLINE_FEATURES = "online_features"
TRAINING_FEATURES = "training_features"

ITEM_SUMMARIES = "item_summaries"
USER_PROFILES = "user_profiles"
SYNTHETIC_ITEMS = "synthetic_items"
LLM_CALLS = "llm_calls"

ITEM_TOWER = "item_tower"
ITEM_TOWER_VECTORS = "item_tower_vectors"
SEQUENCE_MODEL = "sequence_model"
CHAMPION = "champion"
CHALLENGER = "challenger"

HYBRID_SETTINGS = "hybrid_settings"
EVALUATION = "evaluation"
RECOMMENDATIONS = "recommendations"
SIMILAR_ITEMS = "similar_items"
POPULAR_ITEMS = "popular_items"
PUBLICATION = "publication"
ONLINE_METRICS = "online_metrics"
RUN_REPORT = "run_report"

IMPRESSION = "impression"
"""The event that says what was shown. Every other event says what a user did."""

TRAINING_SERVICE = "training_v1"
SCORING_SERVICE = "scoring_v1"


class AblationName(StrEnum):
    """What an ablation leaves out, part by part."""

    MODALITIES = "modalities"
    GENERATION = "generation"
