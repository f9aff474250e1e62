"""What a decoder process runs when a test wants it to misbehave: the file's first word says how."""

import os
import resource
import signal
import sys
import tempfile
import time

import numpy as np

from genre_pipeline.sources import decoding
from genre_pipeline.sources.decoding import Limits

PATH = f"{__name__}:decode"
START_FAILS = f"{__name__}:absent"


def decode(contents: bytes, limits: Limits) -> tuple[np.ndarray, int]:
    behaviour = _BEHAVIOURS.get(contents.decode("ascii", "replace"))
    if behaviour is not None:
        behaviour()
    return decoding.decode(contents, limits) if behaviour is None else (np.zeros((1, 1, 3), dtype=np.uint8), 0)


def _hang() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
    while True:
        time.sleep(60)


def _spin() -> None:
    while True:
        pass


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(np.ones(1_000_000))


def _babble() -> None:
    os.write(1, b"noise " * 1000)
    print("more noise", file=sys.__stdout__, flush=True)


def _write() -> None:
    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"x")
    except OSError:
        os._exit(7)


def _limits() -> None:
    secrets = [name for name in os.environ if name.startswith("GENRE_")]
    if secrets or resource.getrlimit(resource.RLIMIT_AS)[0] != 256 * 1024 * 1024:
        os._exit(8)


_BEHAVIOURS = {
    "hang": _hang,
    "spin": _spin,
    "eat": _eat,
    "exit": lambda: os._exit(3),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "babble": _babble,
    "write": _write,
    "limits": _limits,
}
