"""A trained text classifier as a bundle, and back: what its configuration means is known here alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genre_pipeline.models.towers import finish_tower
from genre_pipeline.training.bundle import load_bundle, load_weights, save_bundle
from genre_pipeline.training.classification import TextClassifier
from genre_pipeline.training.tower_bundle import tower_of


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
    classifier = TextClassifier(tower_of(bundle, folder, str(bundle.config.get("identity", ""))))
    load_weights(classifier, bundle)
    classifier.requires_grad_(False).eval()
    return classifier
