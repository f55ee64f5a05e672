"""The calibration is found by its name, asks of every tag, and gives each page seeds of its own."""

import json
from collections import Counter

from armillary.cli.reproduce import reproduction
from reproductions.diff_calibration.plants import TUNES, UNCHANGED
from reproductions.diff_calibration.run import REPRODUCTIONS, all_plants, asked
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
    quiet = [plant for plant in planted if plant.kind in UNCHANGED]
    assert len(quiet) == SCALES["laptop"].identical + 2 and {plant.kind for plant in quiet} == set(UNCHANGED)
    assert {plant.kind for plant in planted} > set(TUNES)
