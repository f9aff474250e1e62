import pytest

from genre_pipeline.generation.language import is_other_language, language_of, script_of

SENTENCES = {
    "en": "A crew of pilots is lost in orbit and finds the way to another planet with the help of a child.",
    "de": "Eine Mannschaft ist im Orbit verloren und findet mit einem Kind den Weg zu einem anderen Planeten.",
    "fr": "Un équipage est perdu dans l'espace et trouve une planète avec un enfant qui les guide par la nuit.",
    "es": "Una tripulación se pierde en el espacio y encuentra un planeta con la ayuda de una niña.",
    "it": "Un equipaggio si perde nello spazio e trova un pianeta con una bambina che è la guida della nave.",
    "nl": "Een bemanning raakt in de ruimte verloren en vindt met een kind de weg naar een planeet.",
}
SCRIPTS = {
    "LATIN": "Comet Station",
    "CYRILLIC": "Экипаж ремонтирует станцию",
    "GREEK": "Το πλήρωμα επισκευάζει",
    "ARABIC": "الطاقم يصلح المحطة",
    "CJK": "彗星駅の乗組員がステーションを直す",
    "HANGUL": "승무원이 정거장을 수리한다",
    "DEVANAGARI": "चालक दल स्टेशन की मरम्मत करता है",
}


@pytest.mark.parametrize(("language", "sentence"), SENTENCES.items())
def test_a_sentence_is_known_by_its_function_words(language: str, sentence: str) -> None:
    assert language_of(sentence) == language


@pytest.mark.parametrize(("script", "text"), SCRIPTS.items())
def test_scripts_are_told_apart(script: str, text: str) -> None:
    assert script_of(text) == script


def test_every_other_language_and_script_is_another() -> None:
    texts = [*SENTENCES.values(), *(text for script, text in SCRIPTS.items() if script != "LATIN")]
    for one in texts:
        assert [is_other_language(one, other) for other in texts] == [one != other for other in texts]


@pytest.mark.parametrize("text", ["", "42", "1984", "Saffron", "OPI Nail Lacquer, 0.5 Ounce"])
def test_what_is_not_sure_is_not_another(text: str) -> None:
    assert language_of(text) is None
    assert not is_other_language(text, SENTENCES["en"])
    assert not is_other_language(SENTENCES["de"], text)
