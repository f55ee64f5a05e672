"""``armillary ocean align`` killed by SIGKILL ends with the same model; a graph's folder is whole or not there."""

import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from armillary.cli.console import guarded
from armillary.cli.ocean import align
from armillary.graphs import KnowledgeGraph
from armillary.methods.ocean.chains import chosen_graph
from armillary.methods.ocean.offline import PolicyPlan, trained_graph_policy
from armillary.methods.ocean.policy import PolicyConfig
from armillary.records.record import RunRecord
from armillary.runs.parts import Parts
from armillary.runs.settings import Opening
from processes import content, start, start_command

KILLS = int(os.environ.get("ARMILLARY_KILLS", "1"))
"""How many kills each test makes; by hand more: ARMILLARY_KILLS=10."""

PATIENCE = 60.0
"""Seconds until a run that keeps nothing counts as stuck."""

CAPITALS = {
    "France": "Paris",
    "Spain": "Madrid",
    "Italy": "Rome",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Chad": "Bol",
}
TINY = ["--hops", "1", "--paths", "6", "--policy-steps", "2", "--max-steps", "5", "--save-steps", "1"]
TINY += ["--batch-size", "2", "--lora-rank", "2", "--json"]
"""A policy and five steps with a checkpoint after each: a kill strikes in the policy, between, or within the steps."""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """What aligns on six chains whose entities are marked, so that nothing is linked."""
    rows = []
    for country, city in CAPITALS.items():
        step = f"The capital of {country} is {city}."
        spans = [[step.index(name), step.index(name) + len(name)] for name in (country, city)]
        rows.append({"prompt": f"Capital of {country}?", "steps": [step], "entity_spans": [spans]})
    (tmp_path / "c.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return ["tiny-llama", str(tmp_path / "c.jsonl"), *TINY, "--kg", facts(tmp_path / "g.tsv", "capital")]


def facts(path: Path, relation: str) -> str:
    path.write_text("".join(f"{head}\t{relation}\t{tail}\n" for head, tail in CAPITALS.items()))
    return str(path)


def many(out: Path) -> int:
    """Files and folders there; folders that go away meanwhile are passed over."""
    return sum(len(folders) + len(names) for _, folders, names in os.walk(out))


def left(out: Path) -> dict[str, bytes]:
    """What a run is for: the adapter and the graph's policy, but for the README, which names the folder."""
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in out.glob("*/*.*") if path.suffix != ".md"}


@pytest.mark.slow
def test_a_killed_alignment_ends_with_the_same_model(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", exc_type=ImportError)
    # The page has tests of its own, and the run that is killed draws it.
    monkeypatch.setattr("armillary.report.html.render_html", lambda record: "")
    assert guarded(align.run, [*command, "--out", str(tmp_path / "whole")]) == 0
    instants, killed, struck = random.Random(21), tmp_path / "killed", 0
    while struck < KILLS:
        before, until = many(killed), time.monotonic() + PATIENCE
        process = start_command(["ocean", "align", *command, "--out", str(killed)], tmp_path, interactive=False)
        while process.exitcode is None and many(killed) <= before + 2 and time.monotonic() < until:
            time.sleep(0.002)
        # All that is done after the first file takes a second or so.
        process.join(timeout=instants.uniform(0, 1.2))
        process.kill()
        process.join()
        if (killed / "record.json").exists():
            shutil.rmtree(killed)
            continue
        assert process.exitcode == -9, (tmp_path / "stderr").read_text("utf-8")
        struck += 1
    assert guarded(align.run, [*command, "--out", str(killed)]) == 0
    assert left(killed) == left(tmp_path / "whole")
    assert content(RunRecord.load(killed)) == content(RunRecord.load(tmp_path / "whole"))


def test_another_graph_in_the_same_folder_gets_a_policy_of_its_own(tmp_path: Path) -> None:
    plan = PolicyPlan(paths=6, hops=(1,), training=PolicyConfig(max_steps=1, learning_rate=1e-2), plain_prompts=True)
    opening = Opening(dtype="float32", device="cpu", revision=None, quantize=None, trust_remote_code=False)
    weights = []
    for relation in ("capital", "seat", "capital"):
        graph = chosen_graph(facts(tmp_path / f"{relation}.tsv", relation))
        trained_graph_policy("tiny-llama", opening, graph, plan, Parts(tmp_path, relation), tmp_path)
        weights.append((tmp_path / "kg_policy" / "model.safetensors").read_bytes())
    assert weights[0] == weights[2] != weights[1]


def triples() -> Iterator[tuple[str, str, str]]:
    """So many that the arrays take a while to be written."""
    return ((f"city {number}", f"relation {number % 7}", f"place {number % 997}") for number in range(10_000))


def built(folder: Path) -> None:
    KnowledgeGraph.build(triples(), folder)


@pytest.mark.slow
def test_a_killed_build_leaves_a_whole_graph_or_none(tmp_path: Path) -> None:
    whole = KnowledgeGraph.build(triples(), tmp_path / "whole").digest
    instants, there = random.Random(21), 0
    for number in range(3 * KILLS):
        folder = tmp_path / f"{number}" / "graph"
        process = start(built, folder)
        until = time.monotonic() + PATIENCE
        while process.exitcode is None and not folder.parent.exists() and time.monotonic() < until:
            time.sleep(0.001)
        # From the first array to the last takes some tens of milliseconds.
        process.join(timeout=instants.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode in (0, -9)
        there += folder.exists()
        graph = (
            KnowledgeGraph.open(folder, verify=True) if folder.exists() else KnowledgeGraph.build(triples(), folder)
        )
        assert graph.digest == whole
    print(f"whole at {there} of {3 * KILLS} kills")
