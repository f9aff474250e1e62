"""Which script and which language a short text is in, as far as a rule can tell. Says nothing where it is not sure."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

_WORD = re.compile(r"[^\W\d_]+")
_LEAST_LETTERS = 8
_LEAST_WORDS = 2
FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the and of to is with for that his her from who their are was this when into by an it they has about",
        "de": "der die das und ist mit von zu den dem ein eine einer eines im für sich nicht auf wird seine ihre als",
        "fr": "le la les et est une un des du dans pour que qui avec sur son sa ses au aux par elle il pas",
        "es": "el la los las y es una un del de en para que con por su sus se al como más pero",
        "it": "il la gli e è una un del della di in per che con su suo sua si al come nel dei",
        "pt": "o a os as e é uma um do da dos de em para que com por seu sua se ao como não",
        "nl": "de het een en is van met voor dat op zijn haar in te niet aan er wordt naar",
    }.items()
}
"""Words that a sentence of the language can hardly do without."""
_SCRIPTS = (
    "LATIN",
    "CYRILLIC",
    "GREEK",
    "ARABIC",
    "HEBREW",
    "DEVANAGARI",
    "THAI",
    "HANGUL",
    "HIRAGANA",
    "KATAKANA",
    "CJK",
)
_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}
"""Japanese writes with all three."""


def script_of(text: str) -> str | None:
    """The script of most letters, by its Unicode name; None under 8 letters, or where none has half of them."""
    found: Counter[str] = Counter()
    for letter in text:
        if letter.isalpha():
            name = unicodedata.name(letter, "").split(" ")[0]
            found[_ONE_SCRIPT.get(name, name) if name in _SCRIPTS else "OTHER"] += 1
    total = found.total()
    least = _LEAST_LETTERS if "LATIN" in found else 2
    if total < least:
        return None
    script, letters = found.most_common(1)[0]
    return script if letters * 2 >= total else None


def language_of(text: str) -> str | None:
    """Of the languages known here, the one whose function words clearly lead; None where none does.

    Clearly: at least two of them, and half as many again as the next language has.
    """
    words = [word.lower() for word in _WORD.findall(text)]
    counts = sorted(
        ((sum(word in known for word in words), language) for language, known in FUNCTION_WORDS.items()), reverse=True
    )
    (most, language), (next_most, _) = counts[0], counts[1]
    return language if most >= _LEAST_WORDS and most * 2 >= next_most * 3 else None


def is_other_language(text: str, source: str) -> bool:
    """Whether `text` is clearly in another script or language than `source`; False where either is unsure."""
    script, expected = script_of(text), script_of(source)
    if script and expected and script != expected:
        return True
    language, known = language_of(text), language_of(source)
    return bool(language and known and language != known)
