"""Row R6 at the quick scale on a tiny model: arms, shared queries, the score of a caption's parts."""

import pytest

from reproductions.vector_icl.captions import caption_rows, nearest_by_text, slot_f1, slot_score
from reproductions.vector_icl.setup import Context


def test_score_of_parts() -> None:
    assert slot_f1(frozenset("ab"), frozenset("bc")) == 0.5
    assert slot_f1(frozenset(), frozenset()) == 1 and slot_f1(frozenset("a"), frozenset()) == 0
    wanted = [" a light molecule with one ring and an alcohol", " a heavy molecule with no ring"]
    assert [slot_score(wanted[0], wanted[0]), slot_score("nothing", wanted[1])] == [1, 0]
    assert slot_score("a light molecule with one ring", wanted[0]) == pytest.approx(2 * 2 / 5)


def test_rows_of_captions(context: Context) -> None:
    row, other = caption_rows(context)
    shots, most = {str(k) for k in context.scale.caption_shots}, str(context.scale.caption_shots[-1])
    assert set(row.f1["vectors"]) == set(row.f1["text"]) == shots
    assert set(row.f1["shuffled"]) == set(row.f1["random projector"]) == {most}
    assert all(set(row.f1[arm]) == {"0"} for arm in ("1-NN of all", "1-NN of all by SMILES", "most frequent"))
    count = context.scale.caption_reading.draws * context.scale.caption_reading.queries
    assert {len(values) for of in row.f1.values() for values in of.values()} == {count}, "arms share all draws"
    # Made-up vectors tell the caption, so that the nearest of all must know more than the most frequent.
    assert sum(row.f1["1-NN of all"]["0"]) > sum(row.f1["most frequent"]["0"])
    assert row.tokens["text"] > row.tokens["vectors"] and row.losses != other.losses


def test_the_nearest_text_shares_most_pieces() -> None:
    assert nearest_by_text(["CCO", "c1ccccc1"], ["chain", "ring"], ["CCCO", "c1ccccc1C"]) == ["chain", "ring"]
