"""What a model takes and gives, as JSON in MLflow's own form, with an example: readable by people and by MLflow."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from genre_pipeline.training.bundle import INPUT_EXAMPLE, SIGNATURE, json_bytes

Tensors = Mapping[str, tuple[str, Sequence[int]]]
"""Name to dtype and shape; -1 for an axis of any length."""


def signature_files(inputs: Tensors, outputs: Tensors, example: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The bundle's files `signature.json` and `input_example.json`."""
    return {
        SIGNATURE: json_bytes({"inputs": _specs(inputs), "outputs": _specs(outputs), "params": None}),
        INPUT_EXAMPLE: json_bytes({"inputs": {name: values.tolist() for name, values in example.items()}}),
    }


def _specs(tensors: Tensors) -> str:
    return json.dumps(
        [
            {"name": name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}
            for name, (dtype, shape) in tensors.items()
        ]
    )
