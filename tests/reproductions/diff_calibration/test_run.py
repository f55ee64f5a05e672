"""The calibration is found by its name, asks of every tag, and shares what base leaves and nothing else."""

import json
from collections import Counter
from pathlib import Path

from armillary.cli.reproduce import reproduction
from reproductions.diff_calibration.making import SharedParts, asked, forget_peak, peak_since
from reproductions.diff_calibration.plants import TUNES, UNCHANGED
from reproductions.diff_calibration.run import REPRODUCTIONS, all_plants
from reproductions.diff_calibration.scale import SCALES


def test_it_is_found_by_its_name() -> None:
    assert reproduction("diff_calibration") is REPRODUCTIONS["diff_calibration"]


def test_every_tag_has_its_share_of_prompts() -> None:
    scale = SCALES["laptop"]
    tags = Counter(json.loads(line)["tag"] for line in asked(scale).splitlines())
    assert set(tags) == {*scale.tags, "tickets"}
    assert min(tags.values()) >= scale.prompts // len(tags)


def test_pages_are_named_apart() -> None:
    planted = all_plants(SCALES["laptop"], seed=3)
    assert len({(plant.name, plant.seed) for plant in planted}) == len(planted)
    assert {plant.kind for plant in planted} > {*TUNES, *UNCHANGED}


def test_pages_share_what_base_leaves_and_nothing_of_after(tmp_path: Path) -> None:
    first, second = (SharedParts(tmp_path / name, tmp_path / "shared") for name in ("first", "second"))
    for name in ("base answers, batch 0", "material of base", "sizes", "texts of base a second time"):
        assert first.json(name, lambda: 1) == second.json(name, lambda: 2) == 1
    for name in ("base reads the answers of after", "answers of base in the tokens of after", "result of drift"):
        assert [first.json(name, lambda: 1), second.json(name, lambda: 2)] == [1, 2]


def test_the_peak_of_memory_counts_from_when_it_was_forgotten() -> None:
    forget_peak()
    before = peak_since()
    held = bytearray(64 * 2**20)
    after = peak_since()
    assert before is None or (after is not None and after >= before + len(held) / 2**31)
