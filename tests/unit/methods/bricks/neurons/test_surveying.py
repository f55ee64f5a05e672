"""The survey of functional neurons: it finds planted ones, nothing under shuffled labels, and is drawn from JSON."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.bricks.neurons.report import finding, measures, section
from armillary.methods.bricks.neurons.surveying import survey
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel, tiny
from armillary.records.sections import Section
from armillary.report.svg import svg
from armillary.report.tokens import markup

from .test_planted import LAYERS, TOPICS, WIDTH, planted, texts

Survey = tuple[LoadedModel, dict[str, Index], dict[str, Any]]


@pytest.fixture(scope="module")
def found() -> Survey:
    loaded, truth = planted()
    return loaded, truth, survey(loaded, texts=texts(0, 60), limit=30, ablation_texts=30)


def test_planted_neurons_are_found(found: Survey) -> None:
    _, truth, payload = found
    for name, true in truth.items():
        best = payload["best"][name]
        assert best["neuron"] in true.neurons[best["layer"]]
        assert best["score"] > 0.95 > best["largest_of_null"] + 0.1
        one = payload["scores"]["capabilities"][name]
        assert all(score > null for score, null in zip(one["best"], one["best_of_null"], strict=True))
        for layer, row in enumerate(payload["sets"][name]):
            assert set(row) <= set(true.neurons[layer].tolist()), "5 % of a layer are 8 neurons, all of them planted"
        knocked = payload["knockouts"][name]
        assert knocked["own"]["delta_nll"]["low"] > 0 and knocked["own_less_elsewhere"]["low"] > 0
    for control in ("matched", "random"):
        # One control set each: among eight neurons a single one can matter much, so only their mean is sure.
        assert np.mean([one[f"own_less_{control}"]["estimate"] for one in payload["knockouts"].values()]) > 0.03


def test_what_makes_them_fire_is_their_topic(found: Survey) -> None:
    _, _, payload = found
    for name, best in payload["best"].items():
        for example in best["examples"]:
            assert example["capability"] == name
            assert example["tokens"][example["peak"]].strip() in TOPICS[name]


def test_shuffled_labels_find_nothing(found: Survey) -> None:
    loaded, truth, _ = found
    drawn = np.random.default_rng(0).permutation([text for rows in texts(0, 60).values() for text in rows]).tolist()
    mixed = {name: drawn[place * 60 : (place + 1) * 60] for place, name in enumerate(TOPICS)}
    payload = survey(loaded, texts=mixed, limit=30)
    for name, best in payload["best"].items():
        assert best["score"] < best["largest_of_null"] + 0.05
        shared = [len(set(row) & set(truth[name].neurons[layer])) for layer, row in enumerate(payload["sets"][name])]
        assert sum(shared) <= 6 < 16
    assert finding(payload).interest < 0.5
    assert "No capability" in finding(payload).text


def test_it_is_told_from_plain_data(found: Survey) -> None:
    payload = json.loads(json.dumps(found[2], allow_nan=False))
    assert payload == found[2]
    told = section(payload)
    assert Section.from_dict(told.to_dict()) == told and told.id == finding(payload).section == "neurons"
    kinds = [figure.kind for figure in told.figures]
    assert kinds == ["heatmap", "bars", "heatmap", "tokens"]
    assert all("<svg" in svg(figure) for figure in told.figures[:3]) and "<div" in markup(told.figures[3])
    assert np.shape(told.figures[0].data["values"]) == (len(TOPICS), LAYERS)
    assert all(len(row) == len(told.tables[0].columns) for row in told.tables[0].rows)
    assert any(name in finding(payload).text for name in TOPICS) and finding(payload).interest > 0.4
    assert all(one.how and one.n > 0 for one in measures(payload).values())
    assert payload["neurons"] == WIDTH


def test_the_same_seed_gives_the_same_survey(found: Survey) -> None:
    loaded, _, payload = found
    assert survey(loaded, texts=texts(0, 60), limit=30, ablation_texts=30) == payload


def test_telling_needs_no_torch() -> None:
    code = "import sys, armillary.methods.bricks.neurons.report; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_named_capabilities() -> None:
    payload = survey(tiny(), capabilities=["german", "mathematics"], limit=20, ablation_texts=2)
    assert list(payload["texts"].items()) == [("german", 20), ("mathematics", 20)]
    assert payload["held_out"] == {"german": 2, "mathematics": 2}
    assert "Home Assistant" in payload["capabilities"]["german"]
    assert section(payload).summary


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"texts": {"a": ["one two"] * 50}}, "at least two"),
        ({"texts": {"a": ["one two"] * 50, "b": ["red"] * 38}}, "'b' has 19 texts"),
        ({"texts": {"a": ["one"], "b": ["two"]}, "capabilities": ["c"]}, "no texts of 'c'"),
        ({"capabilities": ["german"]}, "at least two"),
        ({"capabilities": ["german", "mathematics"], "limit": 19}, "19 texts"),
        ({"ablation_texts": 0}, "1 or more"),
    ],
)
def test_what_is_refused(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        survey(tiny(), **asked)
