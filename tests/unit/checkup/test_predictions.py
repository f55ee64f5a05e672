"""Two models whose tokenizers begin a text differently: their scores are compared with a word about it."""

from dataclasses import replace

from armillary.checkup.diagnosis import CORPORA
from armillary.checkup.predictions import TextPredictions, compare


def test_another_beginning_is_told() -> None:
    names = [name for name in CORPORA for _ in range(3)]
    before = TextPredictions(corpus=names, bits=[1.0, 1.5, 2.0] * len(CORPORA), opening=names, begins="<bos>")
    assert "differently" not in compare(before, before).section.caution
    told = compare(before, replace(before, begins="")).section.caution
    assert "begin a text differently, with '<bos>' before and '' after" in told
