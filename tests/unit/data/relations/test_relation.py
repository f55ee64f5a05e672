"""Relation files: read back what was written, and refuse the rest in one sentence that names the file."""

from pathlib import Path

import pytest

from armillary.data import load_relation_file
from armillary.errors import UsageError

GOOD = """
id = "metal-color"
source_template = "{} wears the metal called"
target_template = "{}'s favorite color is"
source_words = ["gold", "silver", "copper"]
target_words = ["yellow", "gray", "orange"]
note = "small"

[gold]
gold = "yellow"
silver = ["gray"]
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_good_file_is_read_whole(tmp_path: Path) -> None:
    one = load_relation_file(written(tmp_path, GOOD))
    assert one.gold == {"gold": ("yellow",), "silver": ("gray",)}
    assert (one.prefix, one.group, one.note) == (" ", "related", "small")
    assert one.source[0].name == "the relation file mine.toml"
    assert load_relation_file(str(tmp_path / "mine.toml")) == one


def test_gold_and_the_rest_may_be_absent(tmp_path: Path) -> None:
    one = load_relation_file(written(tmp_path, GOOD.split("[gold]")[0] + 'prefix = ""\ngroup = "control"'))
    assert (dict(one.gold), one.prefix, one.group) == ({}, "", "control")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("source_words", "sourcewords"), "unknown key 'sourcewords'; did you mean 'source_words'?"),
        (('note = "small"', "colour = 3"), "unknown key 'colour'; accepted are id,"),
        (('id = "metal-color"', ""), "the key 'id' is missing"),
        (('"silver", "copper"]', '"silver", "silver"]'), "holds 'silver' twice"),
        (('["gold", "silver", "copper"]', "[]"), "source_words needs at least 2 words; got 0"),
        (('["gold", "silver", "copper"]', "[1, 2]"), "holds 1; a word is text"),
        (('gold = "yellow"', 'gold = "pink"'), "target word 'pink', which target_words lacks"),
        (('gold = "yellow"', "gold = 3"), "gold of 'gold' must be a word or a list"),
        (('silver = ["gray"]', 'iron = "gray"'), "source word 'iron', which source_words lacks"),
        (("called", "called "), "must not end in white space"),
        (("{} wears", "he wears"), "needs exactly one {}"),
        (('note = "small"', "note = 5"), "note must be text; got 5"),
        (('note = "small"', 'group = "loose"'), "group must be one of"),
        (("[gold]", "[gold"), "is not valid TOML"),
        (('note = "small"', 'gold = "x"'), "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(UsageError) as caught:
        load_relation_file(written(tmp_path, GOOD.replace(*change)))
    assert "mine.toml" in str(caught.value)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gold_must_be_a_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gold must be a table"):
        load_relation_file(written(tmp_path, GOOD.split("[gold]")[0] + "gold = 1"))


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml could not be read: there is no relation file"):
        load_relation_file(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match=r"mine\.toml is not UTF-8"):
        load_relation_file(written(tmp_path, b"id = '\xff'"))
    with pytest.raises(UsageError, match="is a folder; give a relation file"):
        load_relation_file(tmp_path)
