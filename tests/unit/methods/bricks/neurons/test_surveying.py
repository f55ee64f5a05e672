"""The survey of functional neurons: it finds planted ones, nothing under shuffled labels, and is drawn from JSON."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.bricks.neurons.report import finding, measures, section
from armillary.methods.bricks.neurons.result import Survey
from armillary.methods.bricks.neurons.surveying import survey
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel, tiny
from armillary.records.plain import decode, plain
from armillary.records.sections import Section
from armillary.report.drawing import svg
from armillary.report.tokens import markup

from .test_planted import LAYERS, TOPICS, WIDTH, planted, texts

World = tuple[LoadedModel, dict[str, Index], Survey]


@pytest.fixture(scope="module")
def world() -> World:
    loaded, truth = planted()
    return loaded, truth, survey(loaded, texts=texts(0, 60), limit=30, ablation_texts=30)


def test_planted_neurons_are_found(world: World) -> None:
    _, truth, result = world
    for name, true in truth.items():
        best = result.best[name]
        assert best.neuron in true.neurons[best.layer]
        assert best.score > 0.95 > best.largest_of_null + 0.1
        scores = result.scores.capabilities[name]
        assert all(score > null for score, null in zip(scores.best, scores.best_of_null, strict=True))
        for layer, row in enumerate(result.sets[name]):
            assert set(row) <= set(true.neurons[layer].tolist()), "5 % of a layer are 8 neurons, all of them planted"
        without = result.ablations[name]
        assert without.own.low > 0 and without.own_less_elsewhere.low > 0
    # One control set each: among eight neurons a single one can matter much, so only their mean is sure.
    assert np.mean([without.own_less_matched.estimate for without in result.ablations.values()]) > 0.03
    assert np.mean([without.own_less_random.estimate for without in result.ablations.values()]) > 0.03


def test_what_makes_them_fire_is_their_topic(world: World) -> None:
    _, _, result = world
    for name, best in result.best.items():
        for example in best.examples:
            assert example.capability == name
            assert example.tokens[example.peak].strip() in TOPICS[name]


def test_shuffled_labels_find_nothing(world: World) -> None:
    loaded, truth, _ = world
    drawn = np.random.default_rng(0).permutation([text for rows in texts(0, 60).values() for text in rows]).tolist()
    mixed = {name: drawn[number * 60 : (number + 1) * 60] for number, name in enumerate(TOPICS)}
    result = survey(loaded, texts=mixed, limit=30)
    for name, best in result.best.items():
        assert best.score < best.largest_of_null + 0.05
        shared = [len(set(row) & set(truth[name].neurons[layer])) for layer, row in enumerate(result.sets[name])]
        assert sum(shared) <= 6 < 16
    assert finding(result).interest < 0.5
    assert "No capability" in finding(result).text


def test_it_is_reported_from_plain_data(world: World) -> None:
    result = decode(Survey, json.loads(json.dumps(plain(world[2]), allow_nan=False)), "the survey")
    assert result == world[2]
    page = section(result)
    assert decode(Section, plain(page), "The section") == page and page.id == finding(result).section == "neurons"
    kinds = [figure.kind for figure in page.figures]
    assert kinds == ["heatmap", "bars", "heatmap", "tokens"]
    assert all("<svg" in svg(figure) for figure in page.figures[:3]) and "<div" in markup(page.figures[3])
    assert np.shape(page.figures[0].data.values) == (len(TOPICS), LAYERS)
    assert all(len(row) == len(page.tables[0].columns) for row in page.tables[0].rows)
    assert any(name in finding(result).text for name in TOPICS) and finding(result).interest > 0.4
    assert all(value.how and value.n > 0 for value in measures(result).values())
    assert result.neurons == WIDTH


def test_the_same_seed_gives_the_same_survey(world: World) -> None:
    loaded, _, result = world
    assert survey(loaded, texts=texts(0, 60), limit=30, ablation_texts=30) == result


def test_the_report_needs_no_torch() -> None:
    code = "import sys, armillary.methods.bricks.neurons.report; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_named_capabilities() -> None:
    result = survey(tiny(), capabilities=["technical-english", "mathematics"], limit=20, ablation_texts=2)
    assert list(result.texts.items()) == [("technical-english", 20), ("mathematics", 20)]
    assert result.held_out == {"technical-english": 2, "mathematics": 2}
    assert "reference manual of the Python language" in result.capabilities["technical-english"]
    assert section(result).summary


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"texts": {"a": ["one two"] * 50}}, "at least two"),
        ({"texts": {"a": ["one two"] * 50, "b": ["red"] * 38}}, "'b' has 19 texts"),
        ({"texts": {"a": ["one"], "b": ["two"]}, "capabilities": ["c"]}, "no texts of 'c'"),
        ({"capabilities": ["technical-english"]}, "at least two"),
        ({"capabilities": ["technical-english", "mathematics"], "limit": 19}, "19 texts"),
        ({"ablation_texts": 0}, "1 or more"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        survey(tiny(), **arguments)
