"""The rules of OCEAN's claims decide as they say, the small world is what it says, and the quick scale runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.methods.ocean.rows import read_chains, token_rows
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.ocean import language_model as lm, online
from reproductions.ocean.claims import CLAIMS
from reproductions.ocean.enumeration import enumerated
from reproductions.ocean.measures import widest
from reproductions.ocean.scale import SCALES
from reproductions.ocean.small_models import Context
from reproductions.ocean.text_measures import distinct, self_bleu
from reproductions.ocean.world import World, entity_spans, steps_of, unrelated

WORLD = World(SCALES["quick"], 0)


def about(value: float, width: float = 0.004) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width)


def outcome(claim: str, measures: dict[str, Interval]) -> str:
    (chosen,) = [one for one in CLAIMS if one.id == claim]
    passing = {"base/well-formed": about(0.99), "base/validity": about(0.7), "family/range of validity": about(0.5),
               "graph policy/validity beyond base": about(0.2)}  # fmt: skip
    return judge([chosen], dict.fromkeys(chosen.names, about(0.0, 9.0)) | passing | measures)[0].outcome


def test_unbiasedness_asks_for_both_and_fails_by_one() -> None:
    slot, word = "enumeration/bias by slot", "enumeration/bias by word, size"
    for bias, size, verdict in ((0.5, 9.0, "holds"), (4.0, 9.0, "fails"), (0.5, 1.0, "fails")):
        assert outcome("unbiased", {slot: about(bias), word: about(size)}) == verdict
    assert outcome("unbiased", {slot: about(2.5, 2), word: about(9.0)}) == "undecided: interval too wide"


def test_a_claim_on_alignment_needs_a_base_that_is_wrong_and_a_graph_that_knows() -> None:
    gains = {"kg_ips/validity beyond base": about(0.1), "kg_ips/accuracy beyond base": about(0.1)}
    assert outcome("faithful", gains) == "holds"
    assert outcome("faithful", {**gains, "base/validity": about(0.95)}) == "undecided: control failed"
    assert outcome("faithful", {**gains, "base/well-formed": about(0.5)}) == "undecided: model too small"
    assert outcome("faithful", {**gains, "kg_ips/accuracy beyond base": about(-0.1)}) == "fails"


def test_the_split_matters_where_one_of_three_gets_worse() -> None:
    names = [name for claim in CLAIMS if claim.id == "token-split" for name in claim.decide.needs]
    assert outcome("token-split", dict.fromkeys(names, about(-0.1)) | {names[2]: about(0.3)}) == "holds"
    assert outcome("token-split", dict.fromkeys(names, about(-0.1))) == "fails"


def test_the_base_policy_is_told_three_in_ten_facts_wrongly_and_lookup_sees_it() -> None:
    world = World(replace(SCALES["quick"], countries=30, paths=150), 1)
    draw = np.random.default_rng(0)
    questions = [question for question in world.questions if len(question.relations) == 1] * 6
    noisy = [world.judge(q, world.chain(world.walk(q, draw, noisy=True), draw)) for q in questions]
    true = [world.judge(q, world.chain(world.walk(q, draw, noisy=False), draw)) for q in world.questions]
    assert all(one.valid and one.validity == 1 for one in true)
    assert np.mean([one.validity for one in noisy]) == pytest.approx(0.7, abs=0.05)
    assert all(one.well_formed for one in noisy)
    train, held_out = world.split
    assert not {q.prompt for q in train} & {q.prompt for q in held_out} and held_out
    hidden = {q.head for q in held_out} - {q.head for q in train}
    pairs = {pair for q in train for pair in zip(q.relations, q.relations[1:], strict=False)}
    for q in held_out:
        assert q.head in hidden or set(zip(q.relations, q.relations[1:], strict=False)) - pairs


def test_chains_that_are_none_are_judged_false() -> None:
    question = next(q for q in WORLD.questions if len(q.relations) == 2)
    for chain in ("", "the of is", "the country of Rome is Italy .", "so the answer is nothing . <end>"):
        judged = WORLD.judge(question, chain)
        assert not judged.valid and not judged.well_formed and not judged.right
    assert steps_of("a b . c d . so e . <end>") == ["a b .", "c d .", "so e . <end>"]


def test_rows_without_a_tokenizer_are_those_with_it() -> None:
    draw = np.random.default_rng(2)
    for question in WORLD.questions[:20]:
        chain = WORLD.chain(WORLD.walk(question, draw, noisy=True), draw)
        (row,) = token_rows(WORLD.tokenizer, read_chains([lm.row_of(question, chain)]), separator=" ").rows
        assert row == lm.tokens_of(WORLD, question.prompt, chain)
        entities = sum(map(len, (entity_spans(step) for step in steps_of(chain))))
        assert entities == 2 * len(question.relations) + 1
    prompt, answer = unrelated(draw)
    assert set(lm.tokens_of(WORLD, prompt, answer).span_ids) == {-1}


def test_chains_are_drawn_from_what_the_whole_row_foretells() -> None:
    model = lm.made(WORLD, 0).eval()
    greedy: lm.Mix = lambda logits, last: 1e5 * logits[0]  # noqa: E731  (temperature near 0)
    questions = WORLD.questions[:5]
    with torch.no_grad():
        for question, chain in zip(questions, lm.draw_chains(WORLD, [model], questions, 0, greedy), strict=True):
            ids = [WORLD.vocabulary[word] for word in (*question.prompt.split(), *chain.split())]
            logits = model(torch.tensor([ids])).logits[0]
            start = len(question.prompt.split())
            assert logits[start - 1 : -1].argmax(-1).tolist() == ids[start:]
    mixed = lm.by_slot(WORLD)([torch.zeros(2, 3), torch.ones(2, 3)], torch.tensor([WORLD.vocabulary["of"], 0]))
    assert mixed.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert lm.between(0.25)([torch.zeros(1, 2), torch.ones(1, 2)], torch.zeros(1))[0, 0] == 0.25


def test_enumeration_tells_a_lambda_by_words_from_one_by_slots() -> None:
    result = enumerated(replace(SCALES["quick"], resamples=400, resampled_chains=100), 3)

    def errors(means: list[float], exact: float) -> float:
        return float((np.mean(means) - exact) / (np.std(means, ddof=1) / 20))

    assert abs(errors(result.means, result.exact)) < 4 < abs(errors(result.means_by_word, result.exact_by_word))
    sizes = [int(size) for size in result.variances]
    assert sizes == [6, 25, 100] and all(
        variance < result.span**2 / (4 * size) for size, variance in zip(sizes, result.variances.values(), strict=True)
    )


def test_variety_is_counted() -> None:
    same, varied = ["a b c d e"] * 5, [f"a{i} b{i} c{i} d{i} e{i}" for i in range(5)]
    assert distinct(same, 2) == 0.2 and distinct(varied, 2) == 1 and distinct(["a"], 2) == 0
    draw = np.random.default_rng(0)
    assert self_bleu(same, draw) == pytest.approx(100) and self_bleu(varied, draw) < 30
    assert widest([np.array([0.1, 0.3]), np.array([-0.2, 0.0])]).lower == pytest.approx(-0.2)


def test_the_quick_scale_runs_through_and_judges_every_claim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lm, "LONGEST", 6)
    aligned = Context._aligned
    same = ("kg_ips", "stable_all", "no_graph", "sft")  # trained as others are, by another objective or on other rows
    monkeypatch.setattr(
        Context, "_aligned", lambda self, name: self.model("base") if name in same else aligned(self, name)
    )
    monkeypatch.setattr("armillary.report.html.render_html", lambda record: "")  # which has tests of its own
    monkeypatch.setattr(online, "has_trl", lambda: False)
    monkeypatch.setattr("reproductions.ocean.small_models.has_trl", lambda: False)
    settings = ReproduceSettings(method="ocean", preset="quick", model="tiny-llama")
    record = JOBS["reproduce"].run(settings, tmp_path / "out")
    assert {name for claim in CLAIMS for name in claim.names} <= set(record.measures)
    assert [claim.id for claim in record.claims] == [claim.id for claim in CLAIMS]
