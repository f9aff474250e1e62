"""Settings chosen on validation, and the lists of each day: users' recommendations, similar items, popular items."""

import dagster as dg
import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import ITEM_ID, USER_ID, VECTOR
from genre_pipeline.contracts.names import (
    CHAMPION,
    HYBRID_SETTINGS,
    INTERACTIONS,
    ITEMS,
    POPULAR_ITEMS,
    RECOMMENDATIONS,
    SIMILAR_ITEMS,
    USERS,
)
from genre_pipeline.contracts.tables import PopularItems, Recommendations, SimilarItems
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.defs.generation import enriched_night, in_words, night_interests
from genre_pipeline.defs.materialise import Result, daily_asset, keeps_contract, passed, result
from genre_pipeline.defs.night import everything_known, known_users, load_night, sayer
from genre_pipeline.defs.shape import GENERATED, HAS_NETWORK, RECOMMENDER_VECTORS, SIMILAR_SPACE
from genre_pipeline.defs.training import FINAL, VALIDATED, champion_recommender
from genre_pipeline.features.nearest import similar_items as nearest_items
from genre_pipeline.features.nearest import similar_items_table
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.vector_column import to_matrix
from genre_pipeline.offline.dataset import Prepared, training_set
from genre_pipeline.offline.personal_lists import personal_lists, repeats_beyond, rules_of, under_filters
from genre_pipeline.project import Project
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.popularity import PopularityConfig, popular_lists, popularity
from genre_pipeline.recommenders.suite import Tuned, fit_suite, tune
from genre_pipeline.training.splits import split_by_time

GROUP = "recommenders"
_INPUTS = [ITEMS, USERS, *RECOMMENDER_VECTORS]
_NETWORK = [CHAMPION] if HAS_NETWORK else []


@daily_asset(
    group=GROUP,
    same_day=[*_INPUTS, *_NETWORK],
    all_days=[INTERACTIONS],
)
def hybrid_settings(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Each recommender's settings and the hybrid's weights by history length, chosen on the last fifth of the day's
    past.
    """
    day, config = context.partition_key, project.config
    night = load_night(project, day)
    split = split_by_time(night.data.interactions)
    past = training_set(night, split, config, only_known_items=True)
    ready = _network(project, day, VALIDATED, past)
    tuned = tune(past, split.truth, config.recommenders, seed=config.seed, say=sayer(context), ready=ready)
    frame = tuned.validation.drop("seconds")
    manifest = project.partitions.write(HYBRID_SETTINGS, day, frame, decisions=tuned.to_json())
    return result(frame, manifest)


@daily_asset(
    group=GROUP,
    same_day=[*_INPUTS, *_NETWORK, *GENERATED, HYBRID_SETTINGS],
    all_days=[INTERACTIONS],
    checks=["keep_their_contract", "hold_nothing_seen", "reach_users"],
)
def recommendations(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Every user's list as of the day's end: the best unseen, available items that the rules leave, with score and
    reasons.
    """
    day, config = context.partition_key, project.config
    night = load_night(project, day)
    data = enriched_night(project, night, day, everything_known(project, night, day))
    tuned = _tuned(project, day)
    say = sayer(context)
    parts = fit_suite(data, tuned, seed=config.seed, say=say, ready=_network(project, day, FINAL, data))
    asked = known_users(night)
    shared = night_interests(project, night, day)
    past = night.data.interactions
    frame = personal_lists(parts, data, asked, night.data.items, config, past=past, interests=shared)
    frame = in_words(context, project, night, frame)
    decisions = tuned.to_json() | rules_of(config.rules)
    manifest = project.partitions.write(RECOMMENDATIONS, day, frame, decisions=decisions)
    return result(frame, manifest, checks=_list_checks(frame, night, asked, config))


@daily_asset(
    group=GROUP,
    same_day=[*dict.fromkeys([*_INPUTS, SIMILAR_SPACE])],
    all_days=[INTERACTIONS],
    checks=["keeps_its_contract"],
)
def similar_items(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Nearest items of each item, among those that may be shown, by the cosine of the vectors that
    `publishing.similar_vectors` names.
    """
    day = context.partition_key
    night = load_night(project, day)
    data = under_filters(everything_known(project, night, day), night.data.items, project.config.rules)
    rows = data.item_ids.to_frame(ITEM_ID).join(
        project.partitions.read(SIMILAR_SPACE, day), on=ITEM_ID, how="left", maintain_order="left"
    )
    vectors = l2_normalise(to_matrix(rows[VECTOR]))
    wanted, how = project.config.publishing.similar_k, project.config.features.nearest
    where, scores = nearest_items(vectors, data.is_candidate, wanted, config=how)
    frame = similar_items_table(data.item_ids, where, scores)
    manifest = project.partitions.write(SIMILAR_ITEMS, day, frame, decisions={"items": SIMILAR_SPACE})
    return result(frame, manifest, checks=[keeps_contract(SIMILAR_ITEMS, frame, SimilarItems)])


@daily_asset(
    group=GROUP,
    same_day=[*_INPUTS, HYBRID_SETTINGS],
    all_days=[INTERACTIONS],
    checks=["keeps_its_contract"],
)
def popular_items(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The most popular items as of the day's end, overall and in each category."""
    day = context.partition_key
    night = load_night(project, day)
    data = under_filters(everything_known(project, night, day), night.data.items, project.config.rules)
    settings = _tuned(project, day).settings["popularity"]
    assert isinstance(settings, PopularityConfig)
    frame = popular_lists(popularity(data, settings), data, night.data.items, k=project.config.publishing.popular_k)
    manifest = project.partitions.write(POPULAR_ITEMS, day, frame, decisions=settings.model_dump())
    return result(frame, manifest, checks=[keeps_contract(POPULAR_ITEMS, frame, PopularItems)])


def _network(project: Project, day: str, bundle: str, data: TrainingSet) -> dict[str, Recommender]:
    return {"sequential": champion_recommender(project, day, bundle, data)} if HAS_NETWORK else {}


def _tuned(project: Project, day: str) -> Tuned:
    return Tuned.from_json(project.partitions.verify(HYBRID_SETTINGS, day).decisions)


def _list_checks(
    frame: pl.DataFrame, night: Prepared, asked: pl.Series, config: GenreConfig
) -> list[dg.AssetCheckResult]:
    repeats, least = repeats_beyond(frame, night.data.interactions, config), config.publishing.min_users_share
    share = frame[USER_ID].n_unique() / max(len(asked), 1)
    contract = keeps_contract(RECOMMENDATIONS, frame, Recommendations)
    return [
        passed(RECOMMENDATIONS, "keep_their_contract", contract.passed, rows=frame.height),
        passed(RECOMMENDATIONS, "hold_nothing_seen", repeats == 0, rows_seen_before=repeats),
        passed(RECOMMENDATIONS, "reach_users", share >= least, share=share, least=least),
    ]


ASSETS = [hybrid_settings, recommendations, similar_items, popular_items]
