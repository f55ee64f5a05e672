"""A whole diff of tiny models: equal ones have no line, and a run that was killed ends as one that was not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import armillary
from armillary.diff import phases, run
from armillary.diff.config import DiffConfig
from armillary.diff.drift import DRIFT
from armillary.diff.effect import Described, Effect, Instrument, Needs
from armillary.diff.evidence import Evidence
from armillary.diff.flips import FLIPS, Flips
from armillary.diff.pair import Origin, Pair
from armillary.diff.plan import plan
from armillary.errors import UsageError
from armillary.models import LoadedModel, load, tiny
from armillary.numerics.intervals import Interval
from armillary.progress import TimeLeft, reporting
from armillary.records.plain import plain
from armillary.records.sections import Section
from armillary.runs import parts
from armillary.runs.folder import RunFolder
from armillary.runs.run import Outcome, Run

CONFIG = DiffConfig(base="a", after="b", budget="10m", most_prompts=6, answer_tokens=4, most_texts=4)


def diffed(folder: Path, base: LoadedModel, after: LoadedModel, config: DiffConfig = CONFIG) -> Outcome:
    """A diff without its record and page."""
    origins: Any = {"base": Origin(name="a", ready=base), "after": Origin(name="b", ready=after)}
    with RunFolder.open(folder, config.config()) as opened:
        return run.compare(Run(settings=config, models=origins, folder=opened))


def measured(outcome: Outcome) -> Any:
    """What a replay compares: measures, tables, figures."""
    return plain([outcome.measures, [[section.id, section.tables, section.figures] for section in outcome.sections]])


def noisy(model: LoadedModel, size: float) -> LoadedModel:
    other = tiny("llama")
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter += size * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return other


def test_a_model_against_itself_has_no_line(tmp_path: Path) -> None:
    model = tiny("llama")
    outcome = diffed(tmp_path / "run", model, model)
    assert [finding.label for finding in outcome.findings] == ["not seen"]
    assert abs(outcome.measures["drift/KL(base||after)"].estimate) < 1e-5
    for name in ("base's answers read by after", "after's answers read by base"):
        assert outcome.measures[f"drift/same likeliest token, {name}"].estimate == 1
        assert outcome.measures[f"drift/hardly given, {name}"].estimate == 0


def test_no_model_is_open_while_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[str, bool] = {}
    measure = run.Measuring.measure

    def noted(self: run.Measuring, *needs: Any) -> None:
        opened.update(dict.fromkeys(needs, self.evidence.pair.holds))
        measure(self, *needs)

    monkeypatch.setattr(run.Measuring, "measure", noted)
    run.run_diff(replace(CONFIG, base="tiny-llama", after="tiny-qwen3"), tmp_path / "run")
    assert opened == {"files": False, "scores": True, "answers": True, "blocks": True, "after answers": False}


class Looking:
    """Someone who looks at a run, and remembers."""

    def __init__(self) -> None:
        self.findings: list[tuple[str, list[tuple[str, str]]]] = []
        self.whole: TimeLeft | None = None
        self.shares: list[float] = []
        self.labels: dict[int, str] = {}

    def start(self, label: str, total: int | None) -> int:
        self.labels[len(self.labels)] = label
        return len(self.labels) - 1

    def advance(self, task: int, steps: int) -> None:
        assert self.whole is not None
        self.shares.append(self.whole.done)

    def stop(self, task: int) -> None: ...

    def plan(self, label: str, whole: TimeLeft) -> int:
        self.whole = whole
        return self.start(label, None)

    def found(self, heading: str, findings: Sequence[tuple[str, str]]) -> None:
        self.findings.append((heading, [*findings]))


@pytest.mark.parametrize("budget", ["2m", "10m"])
def test_lines_are_told_as_each_instrument_ends(
    budget: Literal["2m", "10m"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fake instruments that wait for other things; their effects would be lines of the page."""
    turns: list[str] = []

    def instrument(name: str, needs: Needs, p: float) -> Instrument[Flips]:
        value = Interval(estimate=0.5, low=0.4, high=0.6, n=40, how="made up")
        effect = Effect(
            id=name, kind="forgot", sentence=f"It lost {name}.", value=value, unit="share", p=p, floor=0.01,
            section=name,
        )  # fmt: skip
        section = Section(id=name, title=name, summary="-", meaning="-", caution="-")

        def measure(evidence: Evidence) -> Flips:
            turns.append(name)
            return Flips(rows=[], before_name="a", after_name="b")

        described = Described(section=section, effects=[effect])
        return replace(FLIPS, name=name, needs=needs, measure=measure, describe=lambda _: described)

    # The second is sure by itself, and no longer once all four are corrected for.
    fakes = [instrument(*kind) for kind in (("late", "after answers", 0.9), ("sums", "answers", 0.03))]
    fakes += [instrument("files", "files", 1e-6), instrument("blocks", "blocks", 1e-5)]
    monkeypatch.setattr(run, "INSTRUMENTS", tuple(fakes))
    looking = Looking()
    with reporting(looking):
        outcome = diffed(tmp_path / "run", tiny("llama"), tiny("llama", seed=1), replace(CONFIG, budget=budget))
    early, late = (["late"], []) if budget == "2m" else ([], ["late"])
    assert turns == ["files", "sums", *early, "blocks", *late]
    *findings, last = looking.findings
    assert last == ("", [])
    assert [heading[:13] for heading, _ in findings] == [f"So far ({n} of 4"[:13] for n in range(1, 5)]
    assert findings[0][1] == [("forgot", "It lost files.")]
    verdict = [(finding.label, finding.text) for finding in outcome.findings][:-1]
    assert findings[-1][1] == verdict and len(verdict) == 2
    assert findings[1][1] == [("forgot", "It lost files."), ("forgot", "It lost sums.")]
    assert looking.whole is not None and looking.whole.done == pytest.approx(1)
    assert looking.shares == sorted(looking.shares) and 0 < looking.shares[0] < 0.5


def test_each_result_is_described_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[str] = []

    def describe(result: Flips) -> Described:
        counts.append("described")
        return FLIPS.describe(result)

    monkeypatch.setattr(run, "INSTRUMENTS", (replace(FLIPS, describe=describe),))
    with reporting(Looking()):
        diffed(tmp_path / "run", tiny("llama"), tiny("llama", seed=1))
    assert counts == ["described"]


def test_another_model_drifts_both_ways(tmp_path: Path) -> None:
    model = tiny("llama")
    outcome = diffed(tmp_path / "run", model, noisy(model, 0.1), replace(CONFIG, most_prompts=12))
    assert "drifted" in [finding.label for finding in outcome.findings]
    assert outcome.measures["drift/KL(base||after)"].lower > 0.01
    assert outcome.measures["drift/KL(after||base)"].lower > 0.01


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_after(writes: int, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Killed as the next part would be written, once so many were."""
    left = [writes]

    def counted(real: Any) -> Any:
        def write(*args: Any, **settings: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args, **settings)

        return write

    with patch.context() as inside:
        inside.setattr(parts, "write_atomic", counted(parts.write_atomic))
        inside.setattr(parts, "whole_folder", counted(parts.whole_folder))
        yield


def test_a_run_killed_at_twenty_points_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, after = tiny("llama"), tiny("llama", seed=1)
    monkeypatch.setattr(run, "INSTRUMENTS", (FLIPS, DRIFT))  # the others are kept in the same way, and take longer
    monkeypatch.setattr(phases, "BATCH", 2)
    monkeypatch.setattr(phases, "AGAIN_BATCH", 3)
    whole = measured(diffed(tmp_path / "whole", base, after))
    generator = np.random.default_rng(0)
    kills = 0
    while True:
        try:
            with killed_after(int(generator.integers(0, 3)) if kills < 20 else 1000, monkeypatch):
                outcome = diffed(tmp_path / "killed", base, after)
            break
        except Killed:
            kills += 1
    assert kills == 20
    assert measured(outcome) == whole


def test_one_model_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    opened: list[weakref.ref[Any]] = []

    def watched(name: str, **options: Any) -> LoadedModel:
        assert [reference for reference in opened if reference() is not None] == []
        loaded = load(name, **options)
        opened.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr("armillary.diff.pair.load", watched)
    pair = Pair(Origin(name="tiny-llama"), Origin(name="tiny-qwen3"), CONFIG)
    # Names alone: a comparison of models would hold on to them.
    names = [pair.open(side).name for side in ("base", "base", "after", "base")]
    assert names == ["tiny-llama", "tiny-llama", "tiny-qwen3", "tiny-llama"] and len(opened) == 3


def test_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFolder, "_write_report", lambda folder, record: None)  # seconds, and tested elsewhere
    model = tiny("llama")
    prompts = ["red is the color of", {"prompt": "two plus two is", "answer": "four", "tag": "sums"}] * 3
    result = armillary.diff(
        (model.model, model.tokenizer), tiny("llama", seed=1), prompts=prompts, most_texts=4, answer_tokens=4,
        out=tmp_path / "run",
    )  # fmt: skip
    assert result.verdict[-1].label == "not seen"
    assert (tmp_path / "run" / "record.json").exists() and len(result.comparisons()) >= 2
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"prompts": ["a", 5]}, "prompt 2 is of type int; give text, or a row with prompt or messages"),
        ({"prompts": ["a", " "]}, "prompt 2 has an empty prompt"),
        ({"prompts": {"prompt": "a"}}, "prompts is of type dict; give a file's name, or a list"),
        ({"prompts": 5}, "prompts is of type int"),
        ({"prompts": []}, "prompts has none"),
        ({"texts": "de.txt"}, "texts is of type str; give files by name"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ]
    for settings, sentence in wrong:
        with pytest.raises(UsageError, match=sentence):
            armillary.diff("tiny-llama", "tiny-qwen3", **settings)
    with pytest.raises(UsageError, match="budgt"):
        armillary.diff("tiny-llama", "tiny-qwen3", budgt="2m")
    with pytest.raises(UsageError, match="tiny-llama is a whole model"):
        armillary.diff("tiny-llama")


def test_sizes_fit_the_budget_and_grow_with_it() -> None:
    def sizes(budget: Any, parameters: int = 135_000_000) -> Any:
        config = replace(CONFIG, budget=budget, most_prompts=None, most_texts=None, answer_tokens=None)
        return plan(config, parameters=parameters, layers=30, prompts=320, texts=176, text_tokens=30, questions=220)

    small, large = sizes("2m"), sizes("30m")
    assert small.phases <= small.budget and large.phases <= large.budget
    assert small.prompts < large.prompts <= 320 and not small.base_again and large.base_again
    assert sizes("2m", 7_000_000_000).prompts == 8  # the fewest with which anything can be said


def test_of_a_large_model_the_files_are_read_once_and_always() -> None:
    """``identity`` reads them whatever the budget, so that ``weights``, which takes its numbers, has none to pay."""
    config = replace(CONFIG, budget="2m")
    sizes = plan(config, parameters=7_000_000_000, layers=32, prompts=320, texts=176, text_tokens=30, questions=220)
    pair = Pair(Origin(name="a", ready=tiny("llama")), Origin(name="b", ready=tiny("llama")), config)
    measuring = run.Measuring(
        Evidence(config=config, sizes=sizes, pair=pair, parts=parts.Parts(None, "x"), prompts=[], texts=[]), {}
    )
    assert [*measuring.left_out] == ["restoring"]
    assert measuring.pieces()["identity"] > 60 and measuring.pieces()["weights"] == 0


def test_texts_are_given_under_names() -> None:
    assert DiffConfig(base="a", after="b", texts=("German=de.txt",)).named_texts() == {"German": "de.txt"}
    with pytest.raises(UsageError, match="NAME=FILE"):
        DiffConfig(base="a", after="b", texts=("de.txt",))
    with pytest.raises(UsageError, match="twice"):
        DiffConfig(base="a", after="b", texts=("x=a", "x=b"))
