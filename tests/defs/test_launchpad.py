import dagster as dg
import pytest

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.defs.launchpad import launched, launchpad_schema
from genre_pipeline.training.sequence_training import SequenceTrainingConfig

CONFIGURED = SequenceTrainingConfig(epochs=9, network={"width": 8, "heads": 2})


def _launch(entered: dict[str, object]) -> SequenceTrainingConfig:
    seen: list[SequenceTrainingConfig] = []

    @dg.asset(config_schema=launchpad_schema(SequenceTrainingConfig))
    def trained(context: dg.AssetExecutionContext) -> None:
        seen.append(launched(CONFIGURED, context.op_execution_context.op_config or {}))

    run_config = {"ops": {"trained": {"config": entered}}} if entered else {}
    dg.materialize([trained], run_config=run_config)
    return seen[0]


def test_every_setting_is_in_the_launchpad_with_its_own_words() -> None:
    schema = launchpad_schema(SequenceTrainingConfig)
    assert set(schema) == set(SequenceTrainingConfig.model_fields)
    assert not any(field.is_required for field in schema.values())
    assert schema["epochs"].description == "Passes over the data at most."


def test_what_is_entered_is_laid_over_what_is_configured() -> None:
    assert _launch({}) == CONFIGURED
    entered = {"learning_rate": 1, "max_minutes": None, "precision": "bfloat16", "network": {"blocks": 3}}
    changed = _launch(entered)
    expected = CONFIGURED.model_copy(
        update={
            "learning_rate": 1.0, "max_minutes": None, "precision": "bfloat16",
            "network": CONFIGURED.network.model_copy(update={"blocks": 3}),
        }
    )  # fmt: skip
    assert changed == expected


@pytest.mark.parametrize(
    "wrong", [{"epoch": 3}, {"epochs": "three"}, {"precision": "float16"}, {"network": {"breadth": 3}}]
)
def test_an_unknown_setting_or_type_is_refused_before_the_run(wrong: dict[str, object]) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        _launch(wrong)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"network": {"width": 7}}])
def test_a_value_out_of_range_is_refused_by_the_class_itself(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="run's configuration cannot be used"):
        launched(CONFIGURED, wrong)
