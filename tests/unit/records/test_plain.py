"""Plain data read back into dataclasses: what a message says when a field is wrong."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from armillary.errors import UsageError
from armillary.records.plain import decode, plain, refuse_unknown


@dataclass(frozen=True, kw_only=True)
class Inner:
    rank: int = 1


@dataclass(frozen=True, kw_only=True)
class Outer:
    learning_rate: float
    mode: Literal["lift", "balance"] | None = None
    names: tuple[str, ...] | str = ()
    inner: Inner | None = None
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)


WHOLE = Outer(learning_rate=1.0, mode="lift", names=("a",), inner=Inner(rank=3), parts={"x": ("y", "z")})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rte": 1}, r"^The table has unknown fields: learning_rte; did you mean learning_rate\?$"),
        ({"zzz": 1}, r"unknown fields: zzz; accepted: learning_rate, mode, names, inner, parts\.$"),
        ({"mode": "up"}, r"^The table\.mode must be one of lift, balance, not 'up'\.$"),
        ({"names": 3}, r"^The table\.names must be a list or text, not 3\.$"),
        ({"inner": {"rnk": 1}}, r"^The table\.inner has unknown fields: rnk; did you mean rank\?$"),
        ({"inner": {"rank": "many"}}, r"^The table\.inner\.rank must be a whole number, not 'many'\.$"),
        ({"parts": {"x": "y"}}, r"^The table\.parts\['x'\] must be a list, not 'y'\.$"),
    ],
)
def test_a_wrong_field_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        decode(Outer, {**plain(WHOLE), **changes}, "The table")


def test_what_was_written_is_read_back() -> None:
    assert decode(Outer, plain(WHOLE), "The table") == WHOLE
    with pytest.raises(UsageError, match=r"^The table lacks learning_rate\.$"):
        decode(Outer, {}, "The table")


def test_many_known_names_are_not_listed() -> None:
    known = [f"name {number}" for number in range(50)]
    with pytest.raises(UsageError, match=r"^It has unknown fields: zzz\.$"):
        refuse_unknown(["zzz"], known, "It")
