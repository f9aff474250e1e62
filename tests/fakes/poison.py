"""Payloads that write a canary file when somebody lets them run, and files that only look like weights."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import torch


class Payload:
    """Unpickling it creates the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return Path.touch, (self.canary,)


def pickle_bytes(canary: Path) -> bytes:
    return pickle.dumps({"weight": Payload(canary)})


def write_torch_file(path: Path, canary: Path) -> None:
    torch.save({"weight": torch.ones(2), "payload": Payload(canary)}, path)


def write_object_array(path: Path, canary: Path) -> None:
    with path.open("wb") as handle:
        np.save(handle, np.array([Payload(canary)], dtype=object), allow_pickle=True)


def oversized_header(tensor: bytes = b"\0" * 8) -> bytes:
    """safetensors whose header claims to be as long as memory."""
    return struct.pack("<Q", 2**62) + b"{}" + tensor


def lying_header() -> bytes:
    """safetensors whose tensor lies beyond the file's end."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1024], "data_offsets": [0, 4096]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 16
