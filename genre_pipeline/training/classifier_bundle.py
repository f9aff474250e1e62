"""A trained text classifier as a bundle, and back: what its configuration means is known here alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.models.towers import blank_tower, finish_tower
from genre_pipeline.training.bundle import REMEDY, load_bundle, load_weights, save_bundle
from genre_pipeline.training.classification import TextClassifier


def save_classifier(folder: Path, classifier: TextClassifier, *, decisions: Mapping[str, Any] | None = None) -> str:
    """Write a classifier into `folder`, new or empty, as it serves (adapters merged, in place); the bundle's sha256.

    Raises `ModelFileError` as `save_bundle`.
    """
    tower = finish_tower(classifier.tower)
    return save_bundle(
        folder,
        "text_classifier",
        tensors=classifier.state_dict(),
        config={"tower": tower.config.model_dump(mode="json"), "identity": tower.identity},
        files=tower.files(),
        decisions=decisions,
    )


def load_classifier(folder: Path, *, sha256: str | None = None) -> TextClassifier:
    """The classifier of a verified bundle, in evaluation mode. Raises `ModelFileError` where it is not sound."""
    bundle = load_bundle(folder, "text_classifier", sha256=sha256)
    try:
        config, identity = TowerConfig.model_validate(bundle.config["tower"]), str(bundle.config["identity"])
    except (KeyError, ValidationError) as error:
        raise ModelFileError(f"The configuration in {folder} is no text classifier's", remedy=REMEDY) from error
    classifier = TextClassifier(blank_tower(config, bundle.files, identity))
    load_weights(classifier, bundle)
    classifier.requires_grad_(False).eval()
    return classifier
