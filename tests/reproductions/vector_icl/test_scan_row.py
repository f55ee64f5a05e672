"""Windows of a scan: with an event at their first volume or far from any, never in both parts."""

import numpy as np

from reproductions.vector_icl.data.scans import VOLUMES, EventFMRI, synthetic_scan, windows


def test_windows_by_hand() -> None:
    bold = np.arange(100.0)
    events = np.zeros(100, dtype=np.int64)
    events[[10, 30, 75]] = 1, 2, 3
    train, test = windows(EventFMRI(bold, events), 10, 0)
    assert train.volumes.shape == (4, VOLUMES) and test.volumes.shape == (2, VOLUMES)
    assert sorted(train.volumes[train.shown, 0]) == [10, 30] and test.volumes[test.shown, 0] == [75]
    assert train.volumes.max() < 70 <= test.volumes.min()
    for first in np.concatenate([train.volumes[~train.shown, 0], test.volumes[~test.shown, 0]]).astype(int):
        assert not events[first - 2 : first + 4].any()
    assert np.array_equal(train.volumes[0], train.volumes[0, 0] + np.arange(VOLUMES))


def test_synthetic_scan_can_be_read() -> None:
    train, _ = windows(synthetic_scan(), 10, 0)
    peaks = train.volumes.max(1)
    assert peaks[train.shown].mean() > peaks[~train.shown].mean() + 0.3
