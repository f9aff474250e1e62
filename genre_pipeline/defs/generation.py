"""What a language model writes about items and users each day. Schemes that are off are not in the graph."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import dataframely as dy
import numpy as np
import polars as pl

from genre_pipeline.contracts.names import (
    INTERACTIONS,
    ITEM_SUMMARIES,
    ITEMS,
    SYNTHETIC_ITEMS,
    USER_PROFILES,
)
from genre_pipeline.contracts.tables import ItemSummaries, SyntheticItems, UserProfiles
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.defs.materialise import Result, daily_asset, keeps_contract, passed, result
from genre_pipeline.defs.night import everything_known, load_night, sayer
from genre_pipeline.defs.shape import CONFIG, GENERATED, RECOMMENDER_VECTORS, WRITTEN
from genre_pipeline.generation.calls import Answers, CallCounts
from genre_pipeline.generation.requests import Answer, Request
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.offline.asking import answered
from genre_pipeline.offline.dataset import Prepared
from genre_pipeline.offline.generation import (
    Generated,
    Past,
    encoder,
    enriched,
    histories_to_tell,
    interests,
    snapped,
    with_written_reasons,
)
from genre_pipeline.project import Project, as_of
from genre_pipeline.recommenders.shared_interests import Interests

GROUP = "generation"
_CHECKS = ["keeps_its_contract", "few_fell_back"]
_EXAMPLES = 10


def _fed_by(source: str, scheme: str) -> list[str]:
    """`source`, where it feeds `scheme`: a table that is only to be looked at has no say in one that makes lists."""
    has_say = source in GENERATED or scheme not in GENERATED
    return [source] if source in WRITTEN and has_say else []


_PROFILE_TAGS, _SYNTHETIC_TAGS = (_fed_by(ITEM_SUMMARIES, scheme) for scheme in (USER_PROFILES, SYNTHETIC_ITEMS))
_PROFILES = _fed_by(USER_PROFILES, SYNTHETIC_ITEMS) if CONFIG.generation.chained else []


@daily_asset(
    group=GROUP,
    same_day=[ITEMS],
    checks=_CHECKS,
    pool="gpu",
)
def item_summaries(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """One clear, neutral line and a few tags of each item, beside its own text. An extract where no reply is usable."""
    day = context.partition_key
    scheme, _profiles, _synthetic = project.config.generation.schemes()
    made = _answered(context, project, scheme, scheme.requests(project.partitions.read(ITEMS, day)))
    return _written(project, ITEM_SUMMARIES, day, scheme.frame(made.answers), ItemSummaries, made)


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, *_PROFILE_TAGS],
    all_days=[INTERACTIONS],
    checks=_CHECKS,
    pool="gpu",
)
def user_profiles(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Each user's interests, in the catalogue's own words, and a sentence; the most frequent where no reply is usable.
    A profile names the items it was made of.
    """
    day = context.partition_key
    _summaries, scheme, _synthetic = project.config.generation.schemes()
    histories = _histories(project, _past(project, day), day, _PROFILE_TAGS)
    made = _answered(context, project, scheme, scheme.requests(histories))
    frame = scheme.frame(made.answers, histories, as_of=as_of(day))
    return _written(project, USER_PROFILES, day, frame, UserProfiles, made)


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, *_SYNTHETIC_TAGS, *_PROFILES, *RECOMMENDER_VECTORS],
    all_days=[INTERACTIONS],
    checks=_CHECKS,
    pool="gpu",
)
def synthetic_items(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """What users with a handful of interactions would plausibly like, invented and then snapped to the nearest real
    items; it joins their histories at a lower weight.
    """
    day = context.partition_key
    _summaries, _profiles, scheme = project.config.generation.schemes()
    past, night = _past(project, day), load_night(project, day)
    profiles = project.partitions.read(USER_PROFILES, day) if _PROFILES else None
    histories = _histories(project, past, day, _SYNTHETIC_TAGS)
    made = _answered(context, project, scheme, scheme.requests(histories, profiles))
    data = everything_known(project, night, day)
    encode = encoder(project.config, project.vectors)
    frame = snapped(scheme, made.answers, past, data, project.config, encode=encode)
    return _written(project, SYNTHETIC_ITEMS, day, frame, SyntheticItems, made)


def enriched_night(project: Project, night: Prepared, day: str, data: TrainingSet) -> TrainingSet:
    """`data` with what the day's schemes wrote beside it; `data` itself where none is enabled."""
    if not GENERATED:
        return data
    encode = encoder(project.config, project.vectors)
    return enriched(data, night.data.items, _generated(project, day), project.config, encode=encode)


def night_interests(project: Project, night: Prepared, day: str) -> Interests | None:
    """What the day's profiles share with items, for reasons; None where lists are made without profiles."""
    return interests(night.data.items, _generated(project, day), project.config)


def in_words(context: dg.AssetExecutionContext, project: Project, night: Prepared, lists: pl.DataFrame) -> pl.DataFrame:
    """`lists` with reasons in a model's words, where they are configured."""

    def ask(scheme: Scheme, requests: Sequence[Request]) -> Sequence[Answer]:
        return _answered(context, project, scheme, requests).answers

    return with_written_reasons(lists, night.data.items, project.config, ask=ask)


def _generated(project: Project, day: str) -> Generated:
    tables: dict[str, pl.DataFrame] = {name: project.partitions.read(name, day) for name in GENERATED}
    return Generated(tables.get(ITEM_SUMMARIES), tables.get(USER_PROFILES), tables.get(SYNTHETIC_ITEMS))


def _past(project: Project, day: str) -> Past:
    return Past(
        interactions=project.partitions.scan(INTERACTIONS, until=day).collect(),
        items=project.partitions.read(ITEMS, day),
        as_of=as_of(day),
        has_clock=True,
    )


def _histories(project: Project, past: Past, day: str, tags: Sequence[str]) -> pl.DataFrame:
    summaries = project.partitions.read(ITEM_SUMMARIES, day) if tags else None
    return histories_to_tell(past, summaries, project.config)


def _answered(
    context: dg.AssetExecutionContext, project: Project, scheme: Scheme, requests: Sequence[Request]
) -> Answers:
    day = date.fromisoformat(context.partition_key)
    return answered(project, scheme, requests, day, say=sayer(context))


def _written(
    project: Project, name: str, day: str, frame: pl.DataFrame, schema: type[dy.Schema], made: Answers
) -> Result:
    config = project.config.generation
    model = project.language_model
    decisions = {"model": "none" if model is None else config.model.kind, "templates": config.templates}
    manifest = project.partitions.write(name, day, frame, decisions=decisions)
    counts = made.counts
    few = passed(
        name,
        "few_fell_back",
        counts.failed_share <= config.max_failed_share,
        failed_share=counts.failed_share,
        allowed=config.max_failed_share,
        fallbacks=counts.fallbacks,
        of_them_never_asked=counts.unasked,
    )
    checks = [keeps_contract(name, frame, schema), few]
    examples = dg.MetadataValue.md(_examples(made.answers))
    return result(frame, manifest, checks=checks, examples=examples, **_facts(counts))


def _facts(counts: CallCounts) -> dict[str, Any]:
    """What the UI shows of the calls, in numbers."""
    slow = np.quantile(counts.seconds, [0.5, 0.95, 0.99]) if counts.seconds else [0.0] * 3
    return {
        "requests": counts.requests,
        "cache_hit_share": counts.cached / max(counts.requests, 1),
        "repaired": counts.repaired,
        "fallbacks": counts.fallbacks,
        "fallback_share": counts.fallbacks / max(counts.requests, 1),
        "never_asked": counts.unasked,
        "calls": counts.spending.calls,
        "tokens": counts.spending.tokens,
        "cost": counts.spending.cost,
        **{f"latency_p{share}_s": float(value) for share, value in zip((50, 95, 99), slow, strict=True)},
    }


def _examples(answers: Sequence[Answer]) -> str:
    """Ten values beside what they were made from; those that a model wrote come first. Of a user, no title is shown:
    Dagster keeps metadata for ever, out of reach of `genre forget`.
    """
    first = sorted(answers, key=lambda answer: answer.value is None)[:_EXAMPLES]
    rows = [f"| {_told(_before(one.request))} | {_told(one.value)} | {one.origin} {one.reason} |" for one in first]
    return "\n".join(["| from | written | by |", "| --- | --- | --- |", *rows])


def _before(request: Request) -> Any:
    fields = request.fields
    return {"items": len(fields["history"])} if request.is_personal else fields


def _told(value: Mapping[str, Any] | None) -> str:
    told = "; ".join(f"{name}: {text}" for name, text in (value or {}).items())
    return told.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")[:300]


_OF_SCHEME = {ITEM_SUMMARIES: item_summaries, USER_PROFILES: user_profiles, SYNTHETIC_ITEMS: synthetic_items}
ASSETS = [_OF_SCHEME[name] for name in WRITTEN]
