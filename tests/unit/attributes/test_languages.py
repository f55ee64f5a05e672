import re
from collections import Counter

import pytest

from armillary.attributes.languages import language_of
from armillary.diff.prompts import packaged_texts


def test_languages_of_sentences_of_the_packaged_texts() -> None:
    own = {"English prose": "English", "technical": "English", "German": "German"} | {
        name: name for name in ("French", "Spanish")
    }
    told = [
        (own[text.name], language_of(sentence))
        for text in packaged_texts()
        if text.name in own
        for sentence in re.split(r"(?<=[.?!])\s+", text.text)
        if len(sentence.split()) >= 4
    ]
    assert min(Counter(language for language, _ in told).values()) > 20, "sentences of each of the four"
    assert not [pair for pair in told if pair[1] not in (None, pair[0])], "never wrong where it says something"
    assert sum(language is None for _, language in told) < 0.06 * len(told)


@pytest.mark.parametrize(
    ("text", "language"),
    [("Paris", None), ("", None), ("Это дом.", "Russian or a neighbour"), ("これは本です。", "Japanese"),
     ("你好,世界", "Chinese"), ("```python\nfor x in y: pass\n```", None), ("Il gatto è nel giardino.", "Italian"),
     ("O gato não está no jardim.", "Portuguese"), ("De kat is niet in het huis.", "Dutch")],
)  # fmt: skip
def test_other_languages(text: str, language: str | None) -> None:
    assert language_of(text) == language
