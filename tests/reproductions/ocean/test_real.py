"""OCEAN on the given model: questions with true chains, steps that make up an answer again, and the quick scale."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.data.relations.facts import CONTINENT, COUNTRY, geography_facts
from armillary.graphs import KnowledgeGraph
from armillary.methods.ocean.rows import read_chains, token_rows
from armillary.methods.ocean.scores import score_chains
from armillary.models.loaded import LoadedModel
from armillary.models.tiny_models import tiny
from armillary.runs.parts import Parts
from armillary.scoring.nll import sequence_nll
from reproductions.ocean.online import has_trl
from reproductions.ocean.real.claims import REAL_CLAIMS
from reproductions.ocean.real.given_model import RealContext, steps_with_blanks
from reproductions.ocean.real.questions import ASKED, drawn_questions
from reproductions.ocean.scale import SCALES

GRAPH = KnowledgeGraph.of(geography_facts())


def test_questions_are_of_every_kind_and_of_other_countries() -> None:
    train, held_out = drawn_questions(GRAPH, 0, 40, 20)
    assert len(train) == 40 and len(held_out) == 20
    kinds = {tuple(relation for _, relation, _ in question.facts) for question in held_out}
    assert kinds == set(ASKED)
    for question in (*train, *held_out):
        assert all(GRAPH.has(*fact) for fact in question.facts) and question.facts[-1][2] in question.answers
    assert not {q.facts[0][0] for q in train} & {q.facts[0][0] for q in held_out}
    two = next(q for q in train if [r for _, r, _ in q.facts] == [COUNTRY, CONTINENT])
    path = two.path("ask:")
    city, country, continent = two.facts[0][0], two.facts[0][2], two.facts[1][2]
    assert path.steps == (f"{city} is a city in {country}.", f" {country} is in {continent}.")
    words = [[step[a:b] for a, b in spans] for step, spans in zip(path.steps, path.entity_spans, strict=True)]
    assert words == [[city, country], [country, continent]]
    assert two.text == f"Which continent is the city of {city} in?"


@pytest.mark.parametrize(
    "text", ["Paris is in France. So it is in Europe.", "1. Paris is nice.\n2. It is large.", "no end", "A.  B.\n\nC."]
)
def test_steps_make_up_the_answer_again(text: str) -> None:
    steps = steps_with_blanks(text)
    assert "".join(steps) in text and all(step.strip() for step in steps)
    tokenizer = tiny("llama").tokenizer
    row = {"prompt": "Where?\n", "steps": steps, "entity_spans": [[] for _ in steps]}
    (tokens,) = token_rows(tokenizer, read_chains([row]), separator="").rows
    assert tokenizer.decode(tokens.input_ids) == "Where?\n" + "".join(steps)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT
def test_the_quick_scale_runs_through(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ahocorasick")
    pytest.importorskip("peft")
    monkeypatch.setattr("armillary.report.html.render_html", lambda record: "")  # which has tests of its own
    settings = ReproduceSettings(method="ocean_real", preset="quick", model="tiny-llama")
    record = JOBS["reproduce"].run(settings, tmp_path / "out")
    # Two arms are TRL's, and their claims are not tested where it is missing.
    needed = {name for claim in REAL_CLAIMS for name in claim.names if has_trl() or not re.search("dpo|grpo", name)}
    assert needed <= set(record.measures)
    assert [claim.id for claim in record.claims] == [claim.id for claim in REAL_CLAIMS]
    untested = {claim.id for claim in record.claims if claim.verdict == "not tested"}
    assert untested == (set() if has_trl() else {"real-beats-dpo", "real-beats-grpo"})


def test_an_arm_speaks_with_its_own_weights(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    loaded = tiny("llama")
    parts = Parts(tmp_path, "arms")

    def spoiled(model: LoadedModel) -> None:
        with torch.no_grad():
            for name, weight in model.model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, 1)

    context = RealContext(loaded, SCALES["quick"].real, 0, parts)
    arm = context.adapted("spoiled", spoiled)
    assert sequence_nll(arm, ["a text"]).per_token != pytest.approx(
        sequence_nll(loaded, ["a text"]).per_token, abs=0.1
    )
    again = RealContext(loaded, SCALES["quick"].real, 0, parts).adapted("spoiled", lambda model: pytest.fail("kept"))
    assert again.fingerprint == arm.fingerprint and not isinstance(again.model, peft.PeftModel)
    scored, whole = (
        context.scored(arm),
        score_chains(arm.model, loaded.model, context.graph_policy[0].model, context.held_out_rows),
    )
    assert np.allclose(scored.logp_target, whole.logp_target, atol=1e-5)
    assert scored.estimate(propensity_floor=1e-6).value == pytest.approx(whole.estimate(propensity_floor=1e-6).value)
