"""One decoder process seen from outside: asked for a file, watched, ended when it takes too long, and replaced.

Belongs here: starting, timing and burying. Kept out: what the process does (`decoder_process`). A process is a fresh
interpreter, not a fork: a fork of a program with threads can inherit a lock that nobody will ever release.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
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
_TICK_SECONDS = 0.05
_PIPE_BYTES = 1024 * 1024
"""A whole picture waits in the pipe: one message a file, and not one for each 64 kB of it."""
_HOUSE = str(Path(__file__).resolve().parents[2])
"""An editable install may be found by a hook of `site`, which the process goes without, and be on no path."""
_TIME_SIGNALS = (signal.SIGXCPU, signal.SIGALRM)


class Decoder:
    """One process at a time, for one thread. A file that ends the process is rejected; the next starts another."""

    def __init__(self, limits: Limits, *, decode: str = DECODE) -> None:
        """`limits` is what `decoding.decode` reads, with `seconds`, `memory_mb`, `max_bytes`, `max_body` beside it."""
        self._limits = {**limits, "decoder": decode}
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: _Watch | None = None

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
        paths = os.pathsep.join([_HOUSE, *(path or str(Path.cwd()) for path in sys.path)])
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(  # noqa: S603 - this very interpreter, and no word of a catalogue
            [sys.executable, "-P", "-S", "-c", _ENTRY, json.dumps(self._limits)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0,
            env={"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **threads},
        )  # fmt: skip
        self._watch = _Watch(process)
        _widen(process)
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
        assert self._watch is not None
        self._watch.arm(seconds)
        reply = None
        with contextlib.suppress(BrokenPipeError, ValueError, KeyError, TypeError):
            # One of them: the process is dead, or its answer is none that a sane decoder gives.
            if contents is not None:
                write_message(process.stdin, {}, contents)
            reply = read_message(process.stdout, int(self._limits["max_body"]))
        return reply, self._watch.disarm()

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


def _widen(process: subprocess.Popen[bytes]) -> None:
    """Linux alone has it, and may refuse it to who holds many pipes: then more messages pass, and nothing else."""
    if not hasattr(fcntl, "F_SETPIPE_SZ") or process.stdout is None:
        return
    with contextlib.suppress(OSError):
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class _Watch:
    """Ends a process that is late. One thread for its whole life: a timer a file costs as much as a small picture."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._deadline = float("inf")
        self._is_late = False
        threading.Thread(target=self._run, name="media-watch", daemon=True).start()

    def arm(self, seconds: float) -> None:
        """From now on it has so long."""
        with self._lock:
            self._deadline = time.monotonic() + seconds

    def disarm(self) -> bool:
        """It is done; whether it was ended for being late. Once this has returned, it is not ended any more."""
        with self._lock:
            self._deadline = float("inf")
            return self._is_late

    def _run(self) -> None:
        while self._process.returncode is None and not self._is_late:
            time.sleep(_TICK_SECONDS)
            with self._lock:
                if time.monotonic() > self._deadline:
                    self._is_late = True
                    self._process.kill()


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
