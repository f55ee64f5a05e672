"""The check-up: each listed diagnosis tells what it measured; planted groups are found."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import armillary
from armillary.checkup import CheckupConfig, run
from armillary.checkup.anatomy import ANATOMY
from armillary.checkup.diagnosis import Context, Diagnosed, Diagnosis
from armillary.checkup.keys import KEYS
from armillary.checkup.layers import LAYERS, describe_rank
from armillary.checkup.run import DIAGNOSES
from armillary.errors import UsageError
from armillary.progress import TimeLeft, reporting
from armillary.records.plain import decode, plain
from armillary.records.sections import Finding, Section
from armillary.runs.folder import RunFolder
from armillary.runs.parts import Parts
from armillary.runs.run import Run

CONFIG = CheckupConfig(model="tiny-llama", subjects=60, texts=8, text_tokens=32, clusters=4)
each_description = pytest.mark.parametrize(
    ("diagnosis", "describe"),
    [(diagnosis, describe) for diagnosis in DIAGNOSES for describe in diagnosis.descriptions],
    ids=lambda value: value.name if isinstance(value, Diagnosis) else value.__name__,
)


@pytest.fixture(scope="module")
def context() -> Context:
    return Context(loaded=armillary.tiny("llama"), config=CONFIG, parts=Parts(None, ""))


def measured(diagnosis: Diagnosis[Any], context: Context) -> Any:
    return context.parts.decoded(diagnosis.result, diagnosis.name, lambda: diagnosis.measure(context))


def test_each_diagnosis_has_a_name_of_its_own() -> None:
    """Two of one name would share one measurement."""
    names = [diagnosis.name for diagnosis in DIAGNOSES]
    assert len(names) == len(set(names))
    assert all(diagnosis.descriptions for diagnosis in DIAGNOSES)


@each_description
def test_diagnosis_is_described(
    diagnosis: Diagnosis[Any], describe: Callable[[Any], Diagnosed], context: Context
) -> None:
    told = describe(measured(diagnosis, context))
    section = told.section
    assert section.summary and section.meaning and section.caution
    assert decode(Section, plain(section), "The section") == section
    assert all(finding.section == section.id and 0 <= finding.interest <= 1 for finding in told.findings)
    assert all(interval.how and interval.n > 0 for interval in told.measures.values())


@pytest.mark.parametrize("size", [100.0, 1e4])
def test_ranks_are_not_those_of_an_attention_sink(size: float) -> None:
    """One channel of the first token, planted behind a layer, as massive activations stand in real models."""

    def ranks(channel: float) -> tuple[list[float], list[float], str]:
        loaded = armillary.tiny("llama")

        def plant(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
            planted = output.clone()
            planted[:, 0, 3] += channel
            return planted

        handle = loaded.anatomy.layers[0].register_forward_hook(plant if channel else lambda *_: None)
        survey = LAYERS.measure(Context(loaded=loaded, config=CONFIG, parts=Parts(None, "")))
        handle.remove()
        summary = describe_rank(survey).section.summary
        return [rank.estimate for rank in survey.ranks()], survey.sinks(), summary

    (clean, none, told), (planted, sinks, told_too) = ranks(0.0), ranks(size)
    assert none == [0.0] * len(none) and "sinks" not in told
    assert sinks[0] == pytest.approx(8 / (8 * 32), rel=0.5) and "Attention sinks stand apart" in told_too
    assert planted[0] == pytest.approx(clean[0], rel=0.03)  # less the first tokens themselves


def test_parameters_are_counted_once(context: Context) -> None:
    counts = ANATOMY.measure(context).parameters
    assert sum(counts.values()) == sum(p.numel() for p in context.loaded.model.parameters())
    width, inner = context.loaded.anatomy.hidden_size, context.loaded.anatomy.intermediate_size
    assert counts["feed-forward"] == 3 * width * inner * context.loaded.anatomy.num_layers


def test_planted_key_groups_are_found() -> None:
    loaded = armillary.tiny("llama")
    context = Context(loaded=loaded, config=CONFIG, parts=Parts(None, ""))
    centers = 10 * torch.nn.functional.one_hot(torch.arange(4), loaded.anatomy.hidden_size).float()
    weight = loaded.anatomy.head.weight
    assert isinstance(weight, torch.Tensor)
    with torch.no_grad():
        groups = torch.arange(len(weight)) % 4
        weight.copy_(centers[groups] + 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    keys = KEYS.measure(context)
    gap, null = keys.cohesion.difference.estimate, keys.null.difference.estimate
    assert gap > 1.3 and gap > null + 0.2, "orthogonal groups, centred, lie at -1/3 of one another"
    sizes = [cluster.size for cluster in keys.clusters]
    assert max(sizes) - min(sizes) <= 1


def test_wrong_settings_are_told() -> None:
    with pytest.raises(UsageError, match="subjects must be"):
        CheckupConfig(model="tiny-llama", subjects=3)
    kept = {**CONFIG.config(), "before": None}
    assert CheckupConfig.from_table(kept, "The record's settings") == CONFIG
    with pytest.raises(UsageError, match="armillary diff BASE AFTER"):
        CheckupConfig.from_table({**kept, "before": "tiny-qwen3"}, "The record's settings")


def test_unknown_model_leaves_nothing(tmp_path: Path) -> None:
    from armillary.checkup import run_checkup
    from armillary.errors import ArmillaryError

    with pytest.raises(ArmillaryError, match="no-such-model"):
        run_checkup(CheckupConfig(model="no-such-model"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Looking:
    """Someone who looks at a run, and remembers."""

    def __init__(self) -> None:
        self.headings: list[tuple[str, list[tuple[str, str]]]] = []
        self.wholes: list[TimeLeft] = []

    def start(self, label: str, total: int | None) -> int:
        return 0

    def advance(self, task: int, steps: int) -> None: ...

    def stop(self, task: int) -> None: ...

    def plan(self, label: str, whole: TimeLeft) -> int:
        self.wholes.append(whole)
        return 1

    def found(self, heading: str, findings: Sequence[tuple[str, str]]) -> None:
        self.headings.append((heading, [*findings]))


def test_findings_are_told_as_each_diagnosis_ends_the_quickest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []

    def fake(name: str, cost: float, interest: float | None) -> Diagnosis[dict[str, str]]:
        def measure(context: Context) -> dict[str, str]:
            turns.append(name)
            return {"name": name}

        def describe(result: dict[str, str]) -> Diagnosed:
            section = Section(id=name, title=name, summary="-", meaning="-", caution="-")
            text = f"Of {result['name']}."
            return Diagnosed(
                section=section,
                findings=[] if interest is None else [Finding(text=text, interest=interest, section=name)],
            )

        return Diagnosis(name=name, result=dict, cost=lambda config: cost, measure=measure, descriptions=(describe,))

    fakes = (fake("slow", 30.0, 0.9), fake("dull", 1.0, None), fake("quick", 2.0, 0.5), fake("middle", 10.0, 0.1))
    monkeypatch.setattr(run, "DIAGNOSES", fakes)
    looking = Looking()
    with RunFolder.open(tmp_path / "run", {}) as folder, reporting(looking):
        outcome = run.examine(Run(settings=CONFIG, models={"model": armillary.tiny("llama")}, folder=folder))
    assert turns == ["dull", "quick", "middle", "slow"]
    assert [section.id for section in outcome.sections] == ["slow", "dull", "quick", "middle"], (
        "as the report has them"
    )
    assert looking.headings == [
        ("", []),  # nothing to tell yet
        ("Most interesting so far (2 of 4 diagnoses):", [("1.", "Of quick.")]),
        ("Most interesting so far (3 of 4 diagnoses):", [("1.", "Of quick."), ("2.", "Of middle.")]),
        (
            "Most interesting so far (4 of 4 diagnoses):",
            [("1.", "Of slow."), ("2.", "Of quick."), ("3.", "Of middle.")],
        ),
        ("", []),
    ]
    assert looking.wholes[0].done == pytest.approx(1)
