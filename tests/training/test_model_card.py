import polars as pl

from genre_pipeline.training.model_card import model_card

EPOCHS = pl.DataFrame(
    {"epoch": [1, 2], "train_loss": [2.0, 1.0], "validation_ndcg": [None, 0.25], "seconds": [1.0, 2.0]}
)


def test_a_card_says_what_was_measured_decided_and_configured() -> None:
    card = model_card(
        "sequence_model",
        purpose="Next items.",
        limits="Needs a history.",
        config={"epochs": 2, "network": {"width": 8}},
        decisions={"seed": 3, "note": "a|b\nc"},
        epochs=EPOCHS,
    ).decode()
    assert card.splitlines() == [
        "# Model card: sequence_model", "", "Next items.", "", "## Limits", "", "Needs a history.", "", "## Curve", "",
        "| epoch | train_loss | validation_ndcg |", "| --- | --- | --- |", "| 1 | 2.0000 |  |",
        "| 2 | 1.0000 | 0.2500 |",
        "", "## Decided in training", "", "| what | value |", "| --- | --- |", "| note | a\\|b c |", "| seed | 3 |", "",
        "## Configuration", "", "| key | value |", "| --- | --- |", "| epochs | 2 |", "| network.width | 8 |",
    ]  # fmt: skip
