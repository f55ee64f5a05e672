"""From tiny archives to images: fetched, checked, drawn, cached, loaded, split."""

import builtins
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armillary.data import fetch_emoji, load_emoji
from armillary.data.images import drawings as emoji_drawings, emoji as emoji_module
from armillary.data.images.drawings import identity_of, short_code, split_of
from armillary.data.images.emoji import cached_emoji, emoji_folder, verify_emoji
from armillary.errors import DownloadError, StorageError, UsageError

from .tiny_emoji import emoji_with, icon_set, label_set, publish, rectangle, two_styles


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("weights") is None:
        monkeypatch.setenv("ARMILLARY_CACHE", str(tmp_path / "cache"))


def test_drawings_become_images_on_white(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, monkeypatch, two_styles())
    folder = fetch_emoji()
    assert folder == cached_emoji() and folder.is_relative_to(tmp_path / "cache" / "data")
    loaded = load_emoji()
    assert loaded.images.shape == (3, 2, 64, 64, 3) and loaded.images.dtype == np.uint8
    assert [label.label for label in loaded.labels] == ["red apple", "index pointing right", "skull"]
    apple, hand, skull = loaded.images
    assert (apple[0] == (255, 0, 0)).all() and (apple[1] == (136, 0, 0)).all() and (skull[1] == (0, 255, 0)).all()
    assert (skull[0, :, :32] == 0).all() and (skull[0, :, 32:] == 255).all()
    # Drawn to the right in one set; in the other a mirrored alias that only its name leads to.
    assert (hand[0, :, :32] == 255).all() and (hand[0, :, 32:] == (0, 0, 255)).all()
    assert (hand[0] == hand[1]).all()


def test_labels_and_sources_stand_beside_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, monkeypatch, two_styles())
    fetch_emoji()
    loaded = load_emoji()
    apple = loaded.labels[0]
    assert (apple.hexcode, apple.tags) == ("1F34E", ("fruit", "diet"))
    assert (apple.group, apple.subgroup) == ("food & drink", "fruit")
    assert loaded.styles == ("plain", "flipped") and loaded.groups == ("food & drink", "people & body")
    assert loaded.subgroups("people & body") == ("hands", "faces")
    assert [(source.package, source.version, source.licence) for source in loaded.source] == [
        (name, "1.0.0", "MIT") for name in ("labels", "plain", "flipped")
    ]


def test_a_canvas_that_is_not_square_stays_in_proportion(tmp_path: Path) -> None:
    drawing = emoji_drawings.Drawing('<rect width="10" height="20" fill="#00f"/>', 10, 20)
    image = emoji_drawings.draw(drawing, 16)
    assert (image[:, 4:12] == (0, 0, 255)).all()
    assert (image[:, :4] == 255).all() and (image[:, 12:] == 255).all()
    with pytest.raises(DownloadError, match="can't be rendered"):
        emoji_drawings.draw(emoji_drawings.Drawing("<g", 10, 10), 16)


def test_a_second_fetch_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = publish(tmp_path, monkeypatch, two_styles())
    folder = fetch_emoji()
    assert len(calls.read_text().splitlines()) == 3
    monkeypatch.setenv("PATH", "")
    assert fetch_emoji() == folder
    verify_emoji()
    assert len(calls.read_text().splitlines()) == 3


def test_other_pins_are_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = emoji_folder()
    publish(tmp_path, monkeypatch, two_styles())
    assert emoji_folder() != before


def test_before_the_fetch(tmp_path: Path) -> None:
    assert cached_emoji() is None
    with pytest.raises(UsageError, match="are not in the cache; fetch them once with `armillary data emoji`"):
        load_emoji()


def test_offline_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, monkeypatch, two_styles())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match=r"labels@1\.0\.0 needs npm"):
        fetch_emoji()
    assert cached_emoji() is None
    assert [path.name for path in emoji_folder().parent.iterdir() if not path.name.endswith(".lock")] == []


def test_a_package_that_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, monkeypatch, two_styles())
    archive = tmp_path / "store" / "flipped@1.0.0.tgz"
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(DownloadError, match=r"the archive of flipped@1\.0\.0 has sha256"):
        fetch_emoji()
    assert cached_emoji() is None


@pytest.mark.parametrize(
    ("name", "files", "sentence"),
    [
        ("plain", icon_set({"pear": rectangle("#0f0")}, {}), "have no emoji in common"),
        ("plain", {"package/icons.json": b"[]", "package/chars.json": b"{}"}, "does not hold what was expected"),
        ("plain", {"package/icons.json": b"{}"}, r"package/chars\.json is not a file"),
        ("labels", {**label_set(), "package/en/messages.json": b"{}"}, "does not hold what was expected"),
    ],
)
def test_packages_of_another_form(
    name: str, files: dict[str, bytes], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, monkeypatch, {**two_styles(), name: files})
    with pytest.raises(DownloadError, match=sentence):
        fetch_emoji()
    assert cached_emoji() is None


def test_damage_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, monkeypatch, two_styles())
    images = fetch_emoji() / "pictures.npy"
    data = bytearray(images.read_bytes())
    data[-1] ^= 1
    images.write_bytes(data)
    with pytest.raises(StorageError, match=r"pictures\.npy is not what was written"):
        verify_emoji()
    data[:6] = b"broken"
    images.write_bytes(data)
    with pytest.raises(StorageError, match="can't be read"):
        load_emoji()
    images.write_bytes(data[:-1])
    assert cached_emoji() is None
    fetch_emoji()
    verify_emoji()


@pytest.mark.parametrize(("module", "package"), [("resvg_py", "resvg-py"), ("PIL", "pillow")])
def test_a_missing_renderer_is_told_before_anything_is_downloaded(
    module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = publish(tmp_path, monkeypatch, two_styles())
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"the package {package}, which is not installed: pip install"):
        fetch_emoji()
    assert calls.read_text() == ""


def test_loading_needs_no_renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, monkeypatch, two_styles())
    fetch_emoji()
    honest = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        assert name.split(".")[0] not in ("resvg_py", "PIL"), name
        return honest(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert len(load_emoji()) == 3


@pytest.mark.parametrize(
    ("variants", "identity"),
    [
        (("1F9D1-200D-1F373", "1F468-200D-1F373", "1F469-1F3FD-200D-1F373"), "1F9D1-1F373"),
        (("1F481", "1F481-200D-2642-FE0F", "1F481-1F3FB-200D-2640-FE0F"), "1F481"),
        (("1F6B6-200D-27A1-FE0F", "1F6B6-200D-2640-FE0F-200D-27A1-FE0F"), "1F6B6"),
        (("1F385", "1F936-1F3FF", "1F9D1-200D-1F384"), "1F9D1-1F384"),
        (("1F934", "1F478", "1FAC5"), "1FAC5"),
        (("1F44D", "1F44D-1F3FF"), "1F44D"),
        (("2640-FE0F", "2640"), "2640"),
        (("27A1", "27A1-FE0F"), "27A1"),
        (("1F3FB",), "1F3FB"),
        (("1F3F4-200D-2620-FE0F",), "1F3F4-2620"),
    ],
)
def test_variants_of_one_thing_are_one(variants: tuple[str, ...], identity: str) -> None:
    assert {identity_of(code) for code in variants} == {identity}
    assert len({split_of(identity_of(code)) for code in variants}) == 1


def test_different_things_stay_different() -> None:
    codes = ["1F981", "1F42F", "2640", "2642", "1F468-200D-1F9B0", "1F468-200D-1F9B1", "1F3F4", "1F3F4-200D-2620"]
    assert len({identity_of(code) for code in codes}) == len(codes)
    assert short_code("2620-fe0f") == "2620"


def test_splits_share_nothing_and_keep_their_proportions() -> None:
    emoji = emoji_with({f"group{i}": tuple(f"part{i}{j}" for j in "abcd") for i in range(10)})
    dealt = {name: emoji.split(name) for name in ("train", "validation", "test")}
    assert sorted(index for split in dealt.values() for index in split) == list(range(len(emoji)))
    # Binomial with 960 draws: three standard deviations are 37 for 80 % and 28 for 10 %.
    assert abs(len(dealt["train"]) - 768) < 38
    assert abs(len(dealt["validation"]) - 96) < 29 and abs(len(dealt["test"]) - 96) < 29
    with pytest.raises(UsageError, match="split must be 'train', 'validation' or 'test'; got 'dev'"):
        emoji.split("dev")


def test_a_split_does_not_depend_on_the_rest_of_the_set() -> None:
    whole = emoji_with({"one": ("a", "b"), "two": ("c",)})
    part = emoji_with({"one": ("a",)})
    codes = {whole.labels[index].hexcode for index in whole.split("test")}
    assert {part.labels[index].hexcode for index in part.split("test")} == codes & {x.hexcode for x in part.labels}


@pytest.mark.weights
def test_the_real_set_is_what_the_list_says() -> None:
    from armillary.data.images.packages import IMAGE_COUNT, STYLES

    assert cached_emoji() is not None, "run `armillary data emoji` first"
    verify_emoji()
    loaded = load_emoji()
    assert len(loaded) * len(loaded.styles) == IMAGE_COUNT and len(loaded) == 1595
    assert loaded.styles == tuple(style.name for style in STYLES) == ("noto", "twemoji", "openmoji", "fluent")
    assert len(loaded.groups) == 9 and all(label.tags for label in loaded.labels)
    assert [len(loaded.split(name)) for name in ("train", "validation", "test")] == [1281, 148, 166]
    assert os.fspath(emoji_module.emoji_folder()).endswith("d3a9b0a3")
