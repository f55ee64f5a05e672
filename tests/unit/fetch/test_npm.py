"""npm is really run: a script that stands in for it, and archives made here."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from armillary.errors import DownloadError
from armillary.fetch.npm import NpmPackage, download, read_members
from unit.fetch.tiny_packages import put_npm, write_archive


def pinned(sha256: str = "0" * 64) -> NpmPackage:
    return NpmPackage(name="@tiny/drawings", version="1.2.3", sha256=sha256)


def test_the_archive_comes_through_the_users_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write_archive(tmp_path / "made.tgz", {"package/icons.json": b"{}"})
    calls = put_npm(tmp_path, monkeypatch, f"cp {tmp_path}/made.tgz tiny-drawings-1.2.3.tgz; echo tiny.tgz")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    archive = download(pinned(digest), scratch)
    assert archive.is_relative_to(scratch) and archive.read_bytes() == (tmp_path / "made.tgz").read_bytes()
    (call,) = calls.read_text().splitlines()
    assert call.startswith("pack @tiny/drawings@1.2.3 ") and "--ignore-scripts" in call and "registry" not in call


def test_another_archive_than_the_pinned_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write_archive(tmp_path / "made.tgz", {"package/icons.json": b"{}"})
    put_npm(tmp_path, monkeypatch, f"cp {tmp_path}/made.tgz .")
    with pytest.raises(DownloadError, match=f"has sha256 {digest[:12]}..., not 000000000000... as expected"):
        download(pinned(), tmp_path)


def test_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DownloadError, match=r"@tiny/drawings@1\.2\.3 needs npm.*install Node\.js"):
        download(pinned(), tmp_path)
    (tmp_path / "npm").write_text("no program at all")
    (tmp_path / "npm").chmod(0o755)
    with pytest.raises(DownloadError, match="npm can't be run"):
        download(pinned(), tmp_path)


@pytest.mark.parametrize(
    ("complaint", "sentence"),
    [
        ("npm error code ENOTFOUND\nnpm error syscall getaddrinfo", "the package registry can't be reached"),
        ("npm ERR! code ECONNREFUSED\nnpm ERR! errno ECONNREFUSED", "the package registry can't be reached"),
        (
            "npm error code ETARGET\nnpm error notarget No matching version found for it.\nnpm error notarget More",
            "npm says 'No matching version found for it'.",
        ),
        ("npm error code E404\nnpm error 404 Not Found - GET it\nnpm error 404", "npm says '404 Not Found - GET it'."),
        ("npm ERR! code EACCES\nnpm ERR! A complete log of this run can be found in: x", "npm says 'nothing'."),
    ],
)
def test_a_failure_is_one_sentence(
    complaint: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "complaint").write_text(complaint)
    put_npm(tmp_path, monkeypatch, f"cat {tmp_path}/complaint >&2; exit 1")
    with pytest.raises(DownloadError) as caught:
        download(pinned(), tmp_path)
    assert str(caught.value).startswith("could not download @tiny/drawings@1.2.3: ")
    assert str(caught.value).endswith(sentence) or sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_npm_that_leaves_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_npm(tmp_path, monkeypatch, "exit 0")
    with pytest.raises(DownloadError, match="npm says 'nothing'"):
        download(pinned(), tmp_path)


def test_members_are_read_in_memory_only(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    write_archive(inside / "a.tgz", {"package/a.json": b"a", "../outside": b"x", str(tmp_path / "absolute"): b"x"})
    assert read_members(inside / "a.tgz", ["package/a.json"]) == {"package/a.json": b"a"}
    assert read_members(inside / "a.tgz", ["../outside"]) == {"../outside": b"x"}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tgz", "inside"]


def test_links_and_missing_members_are_no_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("package/icons.json")
        link.type, link.linkname = tarfile.SYMTYPE, os.fspath(secret)
        tar.addfile(link, io.BytesIO())
    for name in ("package/icons.json", "package/chars.json"):
        with pytest.raises(DownloadError, match=f"{name} is not a file in a.tgz"):
            read_members(tmp_path / "a.tgz", [name])


@pytest.mark.parametrize("kept", [0, 10, 60])
def test_a_damaged_archive(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    write_archive(path, {"package/a.json": os.urandom(100_000)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DownloadError, match=r"a\.tgz is damaged"):
        read_members(path, ["package/a.json"])
