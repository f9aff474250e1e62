"""Ablations: what each part is worth, told by leaving it out. One protocol, the same users, paired intervals.

A variant stands in the place of a recommender, so that everything an evaluation knows (intervals, paired comparisons,
segments, cold items) holds for ablations as it is. A further ablation is a module with an `Ablation`, named below.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import RECOMMENDER
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.language_model import Spending
from genre_pipeline.contracts.names import AblationName
from genre_pipeline.evaluation.ablation import differences
from genre_pipeline.evaluation.result import WRITTEN_SCHEMA, EvaluationResult, RunFacts
from genre_pipeline.offline.ablation_generation import GENERATION
from genre_pipeline.offline.ablation_modalities import MODALITIES
from genre_pipeline.offline.dataset import Prepared
from genre_pipeline.offline.evaluate import Evaluation, evaluate_dataset, judged, mean_cost
from genre_pipeline.offline.judging import ColdLists, ProtocolName, Step, validation_part, walk
from genre_pipeline.offline.variant import Ablation, Variant
from genre_pipeline.recommenders.suite import Say, Tuned

ABLATIONS: Mapping[AblationName, Ablation] = {
    AblationName.MODALITIES: MODALITIES,
    AblationName.GENERATION: GENERATION,
}
"""What `--ablate` and `evaluation.ablate` may name."""
VariantsOf = Callable[[Prepared], Iterable[Variant]]
"""An ablation's variants of a data set, or of a part of one."""


def to_prepare(config: GenreConfig) -> GenreConfig:
    """The configuration to prepare data with: ablations may look at more than recommenders do."""
    for name in config.evaluation.ablate:
        config = ABLATIONS[name].needs(config)
    return config


def evaluate_with_ablations(
    prepared: Prepared, config: GenreConfig, *, protocol: ProtocolName, step_days: int, say: Say
) -> Evaluation:
    """`evaluate_dataset`, and every ablation that `config.evaluation.ablate` names, on the same splits.

    `prepared` is what `to_prepare(config)` gave. Raises as `ablate` does.
    """
    found = evaluate_dataset(prepared, config, protocol=protocol, step_days=step_days, say=say)
    named = dict.fromkeys(config.evaluation.ablate)
    results = {
        str(name): ablate(name, prepared, config, protocol=protocol, step_days=step_days, say=say) for name in named
    }
    return replace(found, ablations=results)


def ablate(
    name: AblationName, prepared: Prepared, config: GenreConfig, *, protocol: ProtocolName, step_days: int, say: Say
) -> EvaluationResult:
    """One ablation: variants as recommenders, its reference as champion; what is tuned, is inside the training part.

    Raises `ConfigError` where the data leave nothing to compare.
    """
    ablation = ABLATIONS[name]
    judge = judge_and_choose if ablation.is_chosen_from else judge_variants
    return judge(
        name,
        lambda part: ablation.variants(part, config),
        ablation.reference,
        prepared,
        config,
        protocol=protocol,
        step_days=step_days,
        say=say,
    )


def judge_and_choose(
    name: str,
    variants: VariantsOf,
    reference: str,
    prepared: Prepared,
    config: GenreConfig,
    *,
    protocol: ProtocolName,
    step_days: int,
    say: Say,
) -> EvaluationResult:
    """`judge_variants`, and what each is worth inside the training part, which the result's `run.validation` tells.

    Inside, variants are made, tuned and judged as if the rest were not known: `chosen_variant` is chosen of that alone.
    """
    inside, inner = validation_part(prepared, protocol=protocol, step_days=step_days)
    said = f"{name} on validation"
    shown = judge_variants(said, variants, reference, inside, config, protocol=inner, step_days=step_days, say=say)
    found = judge_variants(name, variants, reference, prepared, config, protocol=protocol, step_days=step_days, say=say)
    return replace(found, run=replace(found.run, validation=differences(shown)))


def judge_variants(
    name: str,
    variants: VariantsOf,
    reference: str,
    prepared: Prepared,
    config: GenreConfig,
    *,
    protocol: ProtocolName,
    step_days: int,
    say: Say,
) -> EvaluationResult:
    """Variants that the caller makes, on one protocol; the first is the `reference`."""
    judgements: list[_Judgement] = []
    for variant in variants(prepared):
        say(f"{name}: {variant.name}")
        tuned = judgements[0].tuned if variant.is_tuned_as_reference else None
        walked = walk(variant.prepared, variant.config, protocol=protocol, step_days=step_days, say=_quiet, tuned=tuned)
        taken = None if variant.taken is None else variant.taken()
        steps = [_renamed(step, variant) for step in walked.steps]
        judgements.append(_Judgement(variant, steps, walked.tuned, taken))
    if len(judgements) < 2:
        raise ConfigError(
            f"The ablation {name!r} finds nothing to compare in {prepared.data.name!r}",
            remedy="Leave it out, or give data and techniques with more than one part.",
            culprits=[one.variant.name for one in judgements],
        )
    together = [_together(of_step) for of_step in zip(*(one.steps for one in judgements), strict=True)]
    facts = RunFacts(cost=mean_cost(together), written=_written(judgements))
    return judged(prepared.data, together, config, protocol=protocol, facts=facts, champion=reference)


@dataclass(frozen=True)
class _Judgement:
    variant: Variant
    steps: list[Step]
    tuned: Tuned
    taken: Spending | None


def _written(judgements: list[_Judgement]) -> pl.DataFrame:
    rows = [{RECOMMENDER: one.variant.name, **vars(one.taken)} for one in judgements if one.taken is not None]
    return pl.DataFrame(rows, schema=WRITTEN_SCHEMA)


def _renamed(step: Step, variant: Variant) -> Step:
    """The lists of the variant's recommender alone, under the variant's name."""
    cold = step.cold and ColdLists(_under(step.cold.lists, variant), step.cold.candidates)
    return replace(step, lists=_under(step.lists, variant), cold=cold, cost=_under(step.cost, variant))


def _under(rows: pl.DataFrame, variant: Variant) -> pl.DataFrame:
    own = rows.filter(pl.col(RECOMMENDER) == variant.recommender)
    return own.with_columns(pl.lit(variant.name).alias(RECOMMENDER))


def _together(steps: tuple[Step, ...]) -> Step:
    """One step of all variants: they share the split and its truth, and differ in their lists."""
    cold = [step.cold for step in steps if step.cold is not None]
    return replace(
        steps[0],
        lists=pl.concat([step.lists for step in steps]),
        cold=ColdLists(pl.concat([one.lists for one in cold]), cold[0].candidates) if cold else None,
        cost=pl.concat([step.cost for step in steps]),
    )


def _quiet(line: str) -> None:
    """A variant's own progress would drown the ablation's."""
    del line
