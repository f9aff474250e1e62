"""The lines of a run on a terminal."""

import re

import dagster as dg
import pytest

from genre_pipeline.contracts.errors import CorruptPartitionError
from genre_pipeline.defs.console import console_logger
from genre_pipeline.defs.running import named_error


@dg.asset
def good(context: dg.AssetExecutionContext) -> None:
    context.log.debug("not for people")
    context.log.info("half way")


@dg.asset(deps=[good], check_specs=[dg.AssetCheckSpec("checked_is_right", asset="checked", blocking=True)])
def checked() -> dg.MaterializeResult:
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=False, check_name="checked_is_right")])


@dg.asset(deps=[checked])
def after() -> None: ...


@dg.asset
def named() -> None:
    raise CorruptPartitionError("part of a table is damaged", remedy="Make it again.", culprits=["part.parquet"])


@dg.asset
def unnamed() -> None:
    raise ZeroDivisionError("by zero")


def lines_of(capsys: pytest.CaptureFixture[str], *assets: dg.AssetsDefinition) -> list[str]:
    job = dg.define_asset_job("told", executor_def=dg.in_process_executor)
    defs = dg.Definitions(list(assets), jobs=[job], loggers={"console": console_logger})
    config = {"loggers": {"console": {"config": {}}}}
    defs.resolve_job_def("told").execute_in_process(run_config=config, raise_on_error=False)
    return [
        re.sub(r"  \d+\.\d s$", "  0.0 s", line) for line in capsys.readouterr().err.splitlines() if line[:1] == " "
    ]


def test_steps_what_they_say_failed_checks_and_skipped_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, good, checked, after) == [
        "  …   good",
        "      half way",
        "  ✓   good  0.0 s",
        "  …   checked",
        "  ✗   check checked_is_right failed",
        "  ✗   checked  0.0 s",
        "  –   after  skipped",
    ]


def test_a_named_error_needs_no_place_in_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, named) == [
        "  …   named",
        "  ✗   named  0.0 s",
        "      CorruptPartitionError: part of a table is damaged ('part.parquet'). Make it again.",
    ]


def test_any_other_error_says_where_it_was_raised(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, unnamed)
    assert lines[2] == "      ZeroDivisionError: by zero"
    assert "test_console.py" in lines[-2]
    assert lines[-1].strip() == 'raise ZeroDivisionError("by zero")'


def test_an_error_comes_back_as_it_was_raised() -> None:
    result = dg.materialize([named], raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    error = named_error(failure)
    assert type(error) is CorruptPartitionError
    assert str(error) == "part of a table is damaged ('part.parquet'). Make it again. (asset named)"


def test_an_error_of_no_name_stays_without() -> None:
    result = dg.materialize([unnamed], raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert named_error(failure) is None
