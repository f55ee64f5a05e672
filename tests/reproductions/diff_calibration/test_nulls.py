"""Pages without a change: exchanging keeps every number, an even exchange is quiet, and rounding alone has no line."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from armillary.diff.config import DiffConfig
from armillary.diff.evidence import Evidence
from armillary.diff.forgotten import GroupValues, TextSurvey, describe_texts
from armillary.diff.pair import Origin
from armillary.diff.run import measured
from armillary.models import load
from armillary.runs.parts import Parts
from reproductions.diff_calibration.nulls import (
    alarms_of,
    effects_of,
    exchanged,
    exchanged_page,
    rounding_page,
    without_floor,
)
from reproductions.diff_calibration.scale import NullSizes

SMALL = NullSizes(tags=2, questions=4, prompts=2, answer_tokens=2, texts=6, dtype="float32")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    config = DiffConfig(base="a", after="b", most_prompts=2, answer_tokens=2, most_texts=48)
    origins = {"base": Origin(name="a", ready=load("tiny-llama")), "after": Origin(name="b", ready=load("tiny-llama"))}
    yield measured(config, origins, Parts(None, "")).evidence


def test_an_exchange_keeps_every_number_and_gives_each_to_either_side(evidence: Evidence) -> None:
    given = evidence.text_scores
    marked = replace(
        evidence,
        text_scores=replace(given, logprob=np.zeros_like(given.logprob)),
        text_crossed={
            **evidence.text_crossed,
            "after": replace(evidence.text_crossed["after"], logprob=np.ones_like(given.logprob)),
        },
    )
    turned = exchanged(marked, seed=1)
    base, after = turned.text_scores.logprob, turned.text_crossed["after"].logprob
    assert np.array_equal(base + after, np.ones_like(base)) and 0 < base.mean() < 1
    means = turned.text_scores.sums(base) / turned.text_scores.lengths
    assert set(means.tolist()) == {0.0, 1.0}, "a whole text is exchanged or none of it"
    again = exchanged(marked, seed=1)
    assert np.array_equal(again.text_scores.logprob, base)


def test_the_page_of_an_exchange_tells_every_comparison_once(evidence: Evidence) -> None:
    page = exchanged_page(evidence, "a copy", seed=2)
    assert len(set(page.ids)) == len(page.ids) > 0 and not page.alarms and page.least <= 1
    assert not any(id.startswith(("drift", "weights", "restoring")) for id in page.ids)


def test_without_a_floor_a_small_change_counts() -> None:
    base = [1.0 + index / 100 for index in range(12)]
    after = [value + 0.01 for value in base]
    group = GroupValues(
        name="x",
        things=12,
        base=base,
        after=after,
        noise=[0.5],
        least=0.2,
        independent=True,
    )
    survey = TextSurvey(groups=[group], too_few={})
    assert describe_texts(survey).effects[0].p == 1
    bare = effects_of({"texts": without_floor(survey)})
    assert bare[0].p == pytest.approx(2 * 0.5**12, rel=1e-6) and bare[0].floor == 0
    assert alarms_of(bare) == ["texts/x"]


def test_a_page_of_rounding_is_its_seeds_and_has_no_line(tmp_path: Path) -> None:
    base, after = load("tiny-llama"), load("tiny-llama")
    first, other = (rounding_page(base, after, SMALL, seed) for seed in (1, 2))
    assert first == rounding_page(base, after, SMALL, 1)
    assert first.ids != other.ids, "another draw of prompts and texts"
    assert not first.alarms and not other.alarms and first.bare
