"""How different texts are, and which are sentences in form."""

import pytest

from armillary.methods.icn.result import diversity, is_sentence


def test_diversity_by_hand() -> None:
    found = diversity(["a b c", "a b d"])
    assert found.distinct_1 == 4 / 6 and found.distinct_2 == 3 / 4 and found.overlap == 1 / 3 and found.valid == 0
    assert diversity(["Same words here now."] * 3).overlap == 1.0
    assert diversity([]).distinct_1 == 0.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("I love this film.", True),
        ("Where do they go now?", True),
        ("I love this film", False),
        ("No.", False),
        ("1 2 3 4 5 6 7.", False),
        ("", False),
    ],
)
def test_sentences(text: str, sentence: bool) -> None:
    assert is_sentence(text) is sentence
