"""One decoder process seen from outside: asked for a file, watched, ended when it takes too long, and replaced.

Belongs here: starting, timing and burying. Kept out: what the process does (`decoder_process`). A process is a fresh
interpreter, not a fork: a fork of a program with threads can inherit a lock that nobody will ever release.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.sources.decoder_process import read_message, write_message
from genre_pipeline.sources.decoding import Limits, RefusedError

DECODE = "genre_pipeline.sources.decoding:decode"
_ENTRY = "from genre_pipeline.sources.decoder_process import main; main()"
_START_SECONDS = 60.0
_END_SECONDS = 5.0
_TIME_SIGNALS = (signal.SIGXCPU, signal.SIGALRM)


class Decoder:
    """One process at a time, for one thread. A file that ends the process is rejected; the next starts another."""

    def __init__(self, limits: Limits, *, decode: str = DECODE) -> None:
        """`limits` is what `decoding.decode` reads, with `seconds`, `memory_mb`, `max_bytes`, `max_body` beside it."""
        self._limits = {**limits, "decoder": decode}
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, contents: bytes) -> tuple[np.ndarray, int]:
        """uint8 [height, width, 3] and 0, or float32 [samples] and the rate. Raises RefusedError, naming the rule."""
        process = self._process = self._process or self._start()
        reply, is_late = self._exchange(process, contents, float(self._limits["seconds"]))
        if reply is None or is_late:
            cause = self._bury(process, is_late)
            if reply is None:
                raise cause
        header, body = reply
        if "rule" in header:
            if header["rule"] == "too_much_memory":
                self._bury(process, is_late)
            raise RefusedError(str(header["rule"]), str(header["detail"]))
        return self._array(header, body)

    def kill(self) -> None:
        """End the process from another thread: the one that waits for it is told so."""
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process and its pipes."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _start(self) -> subprocess.Popen[bytes]:
        """A fresh interpreter that sees the same modules and none of the environment, which holds secrets."""
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(  # noqa: S603 - this very interpreter, and no word of a catalogue
            [sys.executable, "-P", "-c", _ENTRY, json.dumps(self._limits)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            env={"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **threads},
        )  # fmt: skip
        reply, _ = self._exchange(process, None, _START_SECONDS)
        if reply is None or "ready" not in reply[0]:
            _end(process)
            raise SourceError(
                f"The media decoder does not start (exit code {process.returncode})",
                remedy="Raise `memory_mb`, and see that Pillow and soundfile can be imported.",
            )
        return process

    def _exchange(
        self, process: subprocess.Popen[bytes], contents: bytes | None, seconds: float
    ) -> tuple[tuple[dict[str, Any], bytes] | None, bool]:
        """The reply, or None where the process died, and whether its time ran out."""
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()
        timer = threading.Timer(seconds, _kill, [process, late])
        timer.daemon = True
        timer.start()
        try:
            if contents is not None:
                write_message(process.stdin, {}, contents)
            return read_message(process.stdout, int(self._limits["max_body"])), late.is_set()
        except (BrokenPipeError, ValueError, KeyError, TypeError):
            return None, late.is_set()  # dead, or an answer that no sane decoder gives
        finally:
            timer.cancel()

    def _bury(self, process: subprocess.Popen[bytes], is_late: bool) -> RefusedError:
        """End and forget the process; say what it died of."""
        self._process = None
        _end(process, patience=0.0 if is_late else _END_SECONDS)
        code = process.returncode
        if is_late or -code in _TIME_SIGNALS:
            return RefusedError("too_slow", f"Not decoded within {self._limits['seconds']:g} s")
        if code == -signal.SIGKILL:
            return RefusedError("decoder_crashed", "The system ended the decoder, as it does when memory runs out")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return RefusedError("decoder_crashed", f"The file made the decoder crash ({name})")

    def _array(self, header: dict[str, Any], body: bytes) -> tuple[np.ndarray, int]:
        is_image = self._limits["modality"] == "image"
        array = np.frombuffer(body, dtype=np.uint8 if is_image else np.float32)
        try:
            return array.reshape(header["shape"]), int(header["rate"])
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedError("decoder_crashed", "The decoder's answer is not what it announces") from error


def _kill(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _end(process: subprocess.Popen[bytes], patience: float = 0.0) -> None:
    """Wait as long as `patience` for it to end by itself, then end it; no pipe stays open."""
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was still to be written has no reader
