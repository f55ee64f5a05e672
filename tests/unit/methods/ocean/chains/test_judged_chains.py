"""The labels of the real chains in examples/ocean_chains fit them, and the committed figures are what they give."""

import json

import pytest
from examples.ocean_chains.judge import FOLDER, LABELS, LabelledStep, figures, labelled_steps
from tools.ocean_docs import ocean_parts


@pytest.fixture(scope="module")
def steps() -> list[LabelledStep]:
    return labelled_steps()


def test_every_step_has_a_label_and_the_names_that_stand_in_it(steps: list[LabelledStep]) -> None:
    assert len({step.chain for step in steps}) == 100
    for step in steps:
        assert step.label in LABELS and step.by_rule in LABELS
        assert all(name in step.text for name in step.names)


def test_rules_know_facts_of_their_own() -> None:
    from examples.ocean_chains.rules import label

    said = {
        "The capital of Peru is Lima.": "true",
        "Lima is the capital of Chile.": "false",
        "The currency of Japan is the Japanese yen.": "true",
        "The official language of Peru is Danish.": "false",
        "Kenya is a country in East Africa.": "true",
        "Kenya is a country in South America.": "false",
        "A country that borders France is Spain.": "true",
        "A country that borders France is Peru.": "false",
        "The capital of Atlantis is Lima.": "none",
        "The country in which Kyoto lies is Japan.": "true",
        "The country in which Kyoto lies is Peru.": "false",
    }
    assert {step: label(step, "the country in which Kyoto lies", ["Japan"]) for step in said} == said


def test_the_committed_figures_are_those_of_the_labels(steps: list[LabelledStep]) -> None:
    pytest.importorskip("ahocorasick")
    assert figures(steps) == json.loads((FOLDER / "judged.json").read_text("utf-8"))


def test_the_page_has_a_table_of_all_steps() -> None:
    rows = ocean_parts(FOLDER.parents[1])["judged verdicts"].splitlines()[2:]
    cells = [[int(cell) for cell in row.strip("| ").split(" | ")[1:]] for row in rows]
    assert [sum(row[:-1]) for row in cells] == [row[-1] for row in cells] and sum(row[-1] for row in cells) == 264
