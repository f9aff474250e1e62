"""Text that somebody else wrote, made fit to stand in a prompt: it is data, and stays data.

Item text may hold instructions, fake roles, fake ends of the data, and characters that a model reads and a person does
not see. Three walls stand here: such characters go, what is left is encoded as JSON that no chat template takes for its
own marks, and it stands between delimiters that it cannot know. None of them makes a model deaf: what an obedient one
can do is bounded elsewhere (`validation`, `profiles`, `synthetic`, and the clamp of ranks in `recommenders`).
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from genre_pipeline.generation.requests import canonical_json

_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef\u115f\u1160\u3164\uffa0\u034f]")
"""Variation selectors and fillers: letters to Unicode, nothing to the eye, and able to carry a hidden text."""
_SPACE = re.compile(r"\s+")
_MARKS = str.maketrans({"<": "\\u003c", ">": "\\u003e"})
"""Chat templates mark their roles with angle brackets (`<|im_start|>`); JSON may write them as escapes."""
_DELIMITER_DIGITS = 16


def plain(text: str | None, max_characters: int) -> str:
    """Visible text on one line, in NFC, cut at `max_characters`; empty for None.

    Control, format (zero-width, bidirectional, tags), surrogate, private and unassigned characters go, white space
    becomes single blanks. Idempotent.
    """
    if not text:
        return ""
    # Composition may be undone by what stood between two characters, hence after removal; and it may uncover nothing.
    spaced = _SPACE.sub(" ", _SELECTORS.sub("", text))
    seen = "".join(letter for letter in spaced if unicodedata.category(letter) not in _UNSEEN_CATEGORIES)
    composed = unicodedata.normalize("NFC", _SPACE.sub(" ", seen)).strip()
    return composed[:max_characters].strip()


def as_data(value: Any) -> str:
    """Canonical JSON without angle brackets, safe inside any chat template; reads back to the same value."""
    return canonical_json(value).translate(_MARKS)


def as_lines(texts: Sequence[str]) -> str:
    """One line a text behind a dash, each as the inside of a JSON string: none holds a line's end or a role's mark."""
    return "\n".join(f"- {as_data(text)[1:-1]}" for text in texts)


def delimiter(fields: Mapping[str, Any]) -> str:
    """A mark that `fields` cannot contain by design: it is made of their hash. The same fields give the same mark.

    A text that holds its own mark would be a fixed point of a 64-bit piece of sha256.
    """
    digest = hashlib.sha256(b"delimiter" + canonical_json(fields).encode()).hexdigest()
    return f"DATA-{digest[:_DELIMITER_DIGITS]}"
