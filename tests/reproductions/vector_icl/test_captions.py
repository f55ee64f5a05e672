"""Row R6 at the quick scale on a tiny model: arms, shared queries, the score of a caption's parts."""

import pytest

from reproductions.vector_icl.captions import caption_row, slot_f1, slot_score
from reproductions.vector_icl.setup import Context


def test_score_of_parts() -> None:
    assert slot_f1(frozenset("ab"), frozenset("bc")) == 0.5
    assert slot_f1(frozenset(), frozenset()) == 1 and slot_f1(frozenset("a"), frozenset()) == 0
    wanted = [" a light molecule with one ring and an alcohol", " a heavy molecule with no ring"]
    assert [slot_score(wanted[0], wanted[0]), slot_score("nothing", wanted[1])] == [1, 0]
    assert slot_score("a light molecule with one ring", wanted[0]) == pytest.approx(2 * 2 / 5)


def test_row_of_captions(context: Context) -> None:
    row = caption_row(context)
    shots, most = {str(k) for k in context.scale.caption_shots}, str(context.scale.caption_shots[-1])
    assert set(row.f1["vectors"]) == set(row.f1["text"]) == set(row.f1["1-NN"]) == shots
    assert set(row.f1["shuffled"]) == {k for k in shots if int(k) > 1}
    assert {arm: set(row.f1[arm]) for arm in ("random projector", "soft prompt")} == {
        "random projector": {most},
        "soft prompt": {most},
    }
    assert all(set(row.f1[arm]) == {"0"} for arm in ("zero-shot", "1-NN of all", "most frequent"))
    for arm, by_shots in row.f1.items():
        count = context.scale.text_queries if arm == "text" else context.scale.queries
        assert all(len(values) == len(row.words[arm][k]) == count for k, values in by_shots.items())
    # Made-up vectors tell the caption, so that the nearest of all must know more than the most frequent.
    assert sum(row.f1["1-NN of all"]["0"]) > sum(row.f1["most frequent"]["0"])
    assert row.tokens["text"] > row.tokens["vectors"]
