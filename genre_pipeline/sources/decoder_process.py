"""The decoder process: it answers with pictures and sounds, under limits that end the process and not the run.

Belongs here: messages, resource limits and the loop. Kept out: decoding (`decoding`) and watching (`decoder`).
Nothing is unpickled on either side: a message is the length of its header, a JSON header, and raw bytes.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import struct
import sys
import warnings
from typing import IO, Any

import numpy as np
from PIL import Image

from genre_pipeline.sources.decoding import Decode, Limits, RefusedError

_LENGTH = struct.Struct(">I")
_LONGEST_HEADER = 65_536
_LONGEST_DETAIL = 300
_OPEN_FILES = 64
_SECONDS_PAST_PARENT = 2
"""An orphan, whose parent can no longer end it, ends itself this much later than the parent would have."""


def read_message(stream: IO[bytes], max_bytes: int) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None where the other side has closed, died or sent more than `max_bytes`."""
    start = stream.read(_LENGTH.size)
    if len(start) < _LENGTH.size or (length := _LENGTH.unpack(start)[0]) > _LONGEST_HEADER:
        return None
    line = stream.read(length)
    if len(line) < length or (size := int((header := json.loads(line))["size"])) > max_bytes:
        return None
    body = stream.read(size)
    return (header, body) if len(body) == size else None


def write_message(stream: IO[bytes], header: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """One message: length of the header, the header, the body."""
    line = json.dumps({**header, "size": len(body)}).encode()
    stream.write(_LENGTH.pack(len(line)) + line)
    stream.write(body)
    stream.flush()


def serve(requests: IO[bytes], replies: IO[bytes], decode_file: Decode, limits: Limits) -> None:
    """Answer until the other side closes. A file that exhausts memory ends the process after its answer."""
    write_message(replies, {"ready": True})
    while (message := read_message(requests, limits["max_bytes"])) is not None:
        _restart_clocks(limits["seconds"])
        try:
            array, rate = decode_file(message[1], limits)
            body = np.ascontiguousarray(array).data.cast("B")
            write_message(replies, {"shape": array.shape, "rate": rate}, body)
        except RefusedError as refusal:
            write_message(replies, {"rule": refusal.rule, "detail": refusal.detail[:_LONGEST_DETAIL]})
        except MemoryError:
            write_message(
                replies, {"rule": "too_much_memory", "detail": f"Decoding needs over {limits['memory_mb']} MB"}
            )
            return
        signal.setitimer(signal.ITIMER_REAL, 0)


def _restart_clocks(seconds: float) -> None:
    """CPU time and wall time for one file; either ends the process by signal, wherever in a library it hangs."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 1, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_REAL, seconds + _SECONDS_PAST_PARENT)


def _yield_to_encoders() -> None:
    """Push no encoder's thread aside when a file comes: all others of a layer would wait for that one. The share of
    the processors stays: on a busy machine, a good file must not become one that is too slow.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a container may forbid it, and decoding is none the worse
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _confine(memory_mb: int) -> None:
    """No more address space than allowed, no file written, few opened, no core dump."""
    memory = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Entry of the process: limits as JSON in the first argument, messages on standard input and output."""
    limits: dict[str, Any] = json.loads(sys.argv[1])
    module, _, name = limits["decoder"].partition(":")
    decode_file: Decode = getattr(importlib.import_module(module), name)
    Image.MAX_IMAGE_PIXELS = None  # the size is checked against the configured limit instead
    # What decoding needs is imported before the process is confined, and nothing else: a start is paid every night.
    Image.preinit()
    importlib.import_module("soundfile" if limits["modality"] == "audio" else "PIL.WebPImagePlugin")
    warnings.simplefilter("ignore")
    # A library that prints must not write into the answers.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _confine(limits["memory_mb"])
    _yield_to_encoders()
    serve(sys.stdin.buffer, replies, decode_file, limits)
