"""Where a tuned model changed its mind: nothing against itself, something against another, and why not where not."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from armillary.checkup import CheckupConfig, disagreement, run_checkup
from armillary.checkup.diagnosis import Context, Diagnosed
from armillary.checkup.disagreement import DISAGREEMENT, Disagreement
from armillary.checkup.keys import KEYS
from armillary.checkup.layers import LAYERS
from armillary.checkup.run import PAIR_DIAGNOSES
from armillary.methods.modeldiff.ancestry import noisy
from armillary.models import LoadedModel, tiny
from armillary.records.sections import Lines
from armillary.runs.parts import Parts
from copies import permuted, with_tokens_exchanged

CONFIG = CheckupConfig(model="tiny-llama", before="tiny-qwen3", subjects=60, texts=8, text_tokens=32, clusters=4)
DRAWN = 400


@pytest.fixture(autouse=True)
def more_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    # The NLL of a tiny model lies in few bins, whose thin last one a lone sample may fill.
    monkeypatch.setattr(disagreement, "SEQUENCES", DRAWN)


def told(before: LoadedModel, after: LoadedModel, seed: int = 0) -> tuple[Disagreement, Diagnosed]:
    parts = Parts(None, "")
    first, second = (
        Context(loaded=loaded, config=replace(CONFIG, seed=seed), parts=parts, role=role)
        for role, loaded in (("before", before), ("model", after))
    )
    result = parts.decoded(DISAGREEMENT.result, "pair", lambda: DISAGREEMENT.measure(first, second))
    return result, DISAGREEMENT.describe(result)


@cache
def against_noise(size: float) -> tuple[Disagreement, Diagnosed]:
    return told(tiny("llama"), noisy(tiny("llama"), size, seed=0))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_model_and_its_copy_do_not_disagree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the defaults of the check-up: nothing is lost of what was plausible, whatever the pilot."""
    monkeypatch.setattr(disagreement, "SEQUENCES", 256)
    result, outcome = told(tiny("llama"), permuted(tiny("llama")), seed)
    for spread in result.directions.values():
        assert spread.deviation.estimate < 1e-5
        assert spread.overlap.estimate == spread.overlap.lower == spread.overlap.upper == 1.0
    if outcome.findings:
        assert "100% [100%, 100%] of the texts that were plausible before still are" in outcome.findings[0].text
        assert outcome.findings[0].interest <= 0.31


def test_more_change_is_told_as_more() -> None:
    spreads = [against_noise(size)[1].measures["disagreement/spread of D, inputs of before"] for size in (0.1, 0.6)]
    assert spreads[0].upper < spreads[1].lower
    interests = [against_noise(size)[1].findings[0].interest for size in (0.1, 0.6)]
    assert interests[0] < interests[1] <= 0.85


def test_each_model_prefers_what_it_writes() -> None:
    _, outcome = against_noise(0.6)
    means = {name: value for name, value in outcome.measures.items() if "mean of D" in name}
    assert means["disagreement/mean of D, inputs of before"].upper < 0
    assert means["disagreement/mean of D, inputs of after"].lower > 0
    assert [figure.kind for figure in outcome.section.figures] == ["lines", "tokens"]
    curves = outcome.section.figures[0].data
    assert outcome.section.id.endswith("-change")
    assert isinstance(curves, Lines) and curves.series[0].name == "inputs of before"
    assert {value.n for value in means.values()} <= {*range(DRAWN + 1)}


def test_too_few_sequences_are_told_without_a_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disagreement, "SEQUENCES", 40)
    _, outcome = told(tiny("llama"), noisy(tiny("llama"), 0.6, seed=0))
    assert outcome.section.summary.startswith("not enough samples: ")
    assert [figure.kind for figure in outcome.section.figures] == ["tokens"]
    assert outcome.measures == {} and outcome.findings == []


def test_what_can_not_be_compared_says_why() -> None:
    result, outcome = told(tiny("llama"), with_tokens_exchanged(tiny("llama")))
    assert result.reason and result.directions == {}
    assert "were not compared" in outcome.section.summary and "different vocabularies" in outcome.section.summary
    assert outcome.findings == [] and outcome.section.figures == []


def test_the_checkup_of_a_pair_holds_it_and_of_one_model_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two of the diagnoses that compare stand for all, which tests/cli/test_runs.py runs.
    monkeypatch.setattr("armillary.checkup.run.DIAGNOSES", (KEYS, LAYERS))
    for what in (tiny("llama").model, tiny("llama").tokenizer):
        what.save_pretrained(tmp_path / "unchanged")
    record = run_checkup(replace(CONFIG, before=str(tmp_path / "unchanged")), tmp_path / "pair")
    changes = {name: value.estimate for name, value in record.measures.items() if " change/" in name}
    assert changes and set(changes.values()) == {0.0}, "nothing changed in a model that is the same"
    ids = [section.id for section in record.sections]
    assert "disagreement-change" in ids
    last_change = max(index for index, name in enumerate(ids) if name.endswith("-change"))
    assert ids[: last_change + 1] == [name for name in ids if name.endswith("-change")], "changes come first"
    alone = run_checkup(replace(CONFIG, before=None), tmp_path / "alone")
    assert not any(one.name in name for one in PAIR_DIAGNOSES for name in alone.measures)
    assert "disagreement-change" not in [section.id for section in alone.sections]
