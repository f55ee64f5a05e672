"""Builds and trainings of ``armillary ultragen`` killed by SIGKILL resume, and end with the same files to the byte."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from armillary.records.record import RunRecord
from processes import content, start_command

KILLS = int(os.environ.get("ARMILLARY_KILLS", "1"))
"""How many kills each command has to survive; by hand more: ARMILLARY_KILLS=10."""

SMALL = ["--k", "6", "--margin", "0", "--max-new-tokens", "8", "--json"]
BUILD = ["--n", "6", "--sets", "20", "--set-size", "4", "4", "--set-soft", "0", "0", "--triplets", "40"]
TRAIN = ["--ar-steps", "6", "--gpo-steps", "4", "--lora-rank", "2", "--accumulation", "1", "--max-tokens", "500"]
"""Eight steps and more, with a checkpoint after some: a kill strikes between parts and within a stage."""

PATIENCE = 120.0
"""Seconds until a run that keeps nothing counts as stuck."""


def files(out: Path) -> dict[str, bytes]:
    """What a run is for: rows, sets and pairs, or weights and tokenizer."""
    paths = [*out.glob("*.jsonl"), *out.glob("model/*")]
    return {path.name: path.read_bytes() for path in paths}


def kept(out: Path) -> set[Path]:
    """Files of finished parts and checkpoints; folders that go away meanwhile are passed over."""
    return {
        Path(folder) / name for folder, _, names in os.walk(out / ".parts") for name in names if name[-5:] == ".json"
    }


def finish(arguments: list[str], out: Path) -> None:
    process = start_command([*arguments, "--out", str(out)], out.parent, interactive=False)
    process.join()
    assert process.exitcode == 0, (out.parent / "stderr").read_text("utf-8")


def killed_and_finished(arguments: list[str], out: Path, instants: random.Random, longest: float) -> list[int]:
    """Kill ``KILLS`` runs into the folder, each some time after it has kept something new, and let the last one end.

    A run that has its record before the kill is removed and begins anew. How many files each kill left.
    """
    left: list[int] = []
    finished = 0
    while len(left) < KILLS:
        before, until = kept(out), time.monotonic() + PATIENCE
        process = start_command([*arguments, "--out", str(out)], out.parent, interactive=False)
        while process.exitcode is None and kept(out) <= before and time.monotonic() < until:
            time.sleep(0.002)
        process.join(timeout=instants.uniform(0, longest))
        process.kill()
        process.join()
        if not (out / "record.json").exists():
            assert process.exitcode == -9, (out.parent / "stderr").read_text("utf-8")
            left.append(len(kept(out)))
        else:
            assert process.exitcode in (0, -9), (out.parent / "stderr").read_text("utf-8")
            shutil.rmtree(out)
            finished += 1
            assert finished <= KILLS + 9, "the runs are done before they can be killed"
    finish(arguments, out)
    return left


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a build that nothing disturbed, and its texts beside it."""
    folder = tmp_path_factory.mktemp("texts")
    words = ("mill", "forge", "farm", "inn", "school", "tower", "bridge", "church", "market", "harbour")
    rows = [
        {"text": f"The {word} is old. People of the {word} tell of {number} storms.\n\nIt stands."}
        for number, word in enumerate(words, 3)
    ]
    (folder / "places.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    finish(build_of(folder / "places.jsonl"), folder / "data")
    return folder / "data"


def build_of(texts: Path) -> list[str]:
    return ["ultragen", "build", str(texts), "--model", "tiny-llama", *BUILD, *SMALL]


@pytest.mark.slow
@pytest.mark.parametrize("action", ["build", "train"])
def test_what_a_killed_run_leaves_is_the_same(action: str, built: Path, tmp_path: Path) -> None:
    whole, arguments = built, build_of(built.parent / "places.jsonl")
    if action == "train":
        pytest.importorskip("trl", exc_type=ImportError)
        whole, arguments = tmp_path / "whole", ["ultragen", "train", "tiny-llama", str(built), *TRAIN, *SMALL]
        finish(arguments, whole)
    # From what is kept to the next takes about so long; the draw reaches into the part behind.
    left = killed_and_finished(arguments, tmp_path / "killed", random.Random(9), 0.6 if action == "build" else 1.5)
    assert files(tmp_path / "killed") == files(whole)
    assert content(RunRecord.load(tmp_path / "killed")) == content(RunRecord.load(whole))
    print(f"{action}: files kept at each kill: {left}; identical: {', '.join(sorted(files(whole)))}, record.json")
