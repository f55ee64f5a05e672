"""The whole path from a model to a result: exact relations found, controls low, refusals in one sentence."""

import json

import numpy as np
import pytest
import torch

from armillary.data import Relation
from armillary.errors import UsageError
from armillary.methods.lincorr import (
    LinCorrConfig,
    RelationResult,
    RelationScores,
    lincorr,
    recollect,
    restricted,
    study,
)
from armillary.models import tiny
from armillary.records.plain import decode, plain

FAST = LinCorrConfig(n=300, replicates=100, permutations=20, control_tokens=30)


@pytest.fixture(scope="module")
def result(loaded, relation) -> RelationResult:
    return lincorr(loaded, relation, FAST)


def test_a_model_that_is_linear_is_found_to_be(exact, relation):
    loaded, weight = exact
    result = lincorr(loaded, relation, FAST, ridge=0.0)
    assert result.correlation.low > 1 - 1e-6
    assert result.r_squared.estimate > 1 - 1e-6
    found = result.fit.weight_ST
    assert found.shape == weight.shape
    torch.testing.assert_close(found, weight.double(), atol=2e-3, rtol=0)
    assert abs(result.permuted.estimate) < 0.15 and result.permuted.high < 0.6
    # The right pairs are whatever the drawn W says; a gold made of its largest entries is found without a miss.
    top = {result.fit.source.labels[i]: (result.fit.target.labels[int(weight[i].argmax())],) for i in range(12)}
    told = Relation(**{**vars(relation), "gold": top})
    hit = lincorr(loaded, told, FAST, ridge=0.0).hit(1)
    assert hit is not None and hit.rate.estimate == 1


def test_result_tells_all_and_is_plain_data(result):
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    for name in ("correlation", "correlation_ols", "permuted", "random_domain", "excess", "centred", "over_rank_one"):
        assert {"estimate", "low", "high", "how"} <= set(told[name])
    assert told["correlation"]["low"] < told["correlation"]["estimate"] < told["correlation"]["high"]
    assert len(told["hits"]) == 2 * 2 * 2 * 3, "two fits, two weights, two directions, three N"
    assert told["chat_template"] is False and told["space"] == "logits"
    assert told["fit_rows"] == told["test_rows"] == 150
    assert told["examples"][0]["top"][0][1] >= told["examples"][0]["top"][1][1]
    text = str(result)
    assert "city-country in tiny-llama" in text and "hit@5, influenced" in text and "exchanged" in text
    assert "RelationFit" not in repr(result)
    assert decode(RelationScores, told, "the scores").to_dict() == told


def test_excess_is_the_difference_of_the_two_correlations(result):
    difference = result.correlation.estimate - result.random_domain.estimate
    assert result.excess.estimate == pytest.approx(difference)
    assert result.over_rank_one.estimate == pytest.approx(result.correlation.estimate - result.rank_one.estimate)


def test_influence_reads_the_weights_by_word(result):
    fit = result.fit
    value = fit.influence("Paris", "Italy")
    assert value == float(fit.weight_ST[fit.source.column("Paris"), fit.target.column("Italy")])
    assert fit.influenced("Paris", 10)[0][1] == pytest.approx(float(fit.weight_ST[fit.source.column("Paris")].max()))
    assert {word for word, _ in fit.influencing("Italy", 12)} == set(fit.source.labels)
    with pytest.raises(UsageError, match="'Atlantis' is not among"):
        fit.influence("Paris", "Atlantis")
    with pytest.raises(UsageError, match="raw"):
        fit.weights("log")


def test_same_seed_same_numbers(loaded, relation, result):
    assert lincorr(loaded, relation, FAST).to_dict() == result.to_dict()
    other = lincorr(loaded, relation, FAST, seed=1)
    assert other.correlation.estimate != result.correlation.estimate


def test_settings_can_be_given_by_name(loaded, relation):
    found = lincorr(loaded, relation, n=200, replicates=20, permutations=2, control_tokens=0)
    assert (found.fit_rows, found.random_domain, found.excess) == (100, None, None)
    with pytest.raises(UsageError, match="no setting 'subjects'; its settings are n, seed"):
        lincorr(loaded, relation, subjects=3)
    with pytest.raises(UsageError, match="usable strings"):
        lincorr(loaded, relation, n=100_000)


@pytest.mark.parametrize(
    "settings",
    [
        {"n": 2},
        {"ridge": -1.0},
        {"ridge": "cv"},
        {"ridge": float("nan")},
        {"space": "probs"},
        {"policy": "some"},
        {"level": 1.0},
        {"chunk": 0},
        {"n": 10.5},
    ],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(UsageError, match=rf"{next(iter(settings))} must"):
        LinCorrConfig(**settings)


def test_spaces_differ_and_are_told(loaded, relation, result):
    logp = lincorr(loaded, relation, FAST, space="logp")
    assert logp.space == "logp" and result.space == "logits"
    assert logp.correlation.estimate != result.correlation.estimate
    # Centring a row takes away what the two spaces differ by.
    assert logp.centred.estimate == pytest.approx(result.centred.estimate, abs=1e-3)


def test_a_study_reads_each_prompt_once_and_agrees_with_single_calls(loaded, relation, result):
    colors = Relation(
        id="city-color",
        source_template=relation.source_template,
        target_template="{} is the color",
        source_words=relation.source_words,
        target_words=("red", "blue", "green"),
        group="control",
    )
    lost = Relation(**{**vars(colors), "id": "lost", "target_words": ("Xyzzy", "Plugh")})
    kept: dict[str, dict[str, np.ndarray]] = {}

    def store(name, compute):
        return kept.setdefault(name, compute())

    done = study(loaded, [relation, colors, lost], FAST, store=store)
    assert set(done.results) == {"city-country", "city-color"}
    assert "only 0 of 2 words" in done.skipped["lost"]
    assert done.results["city-color"].hits == ()
    assert done.results["city-country"].correlation.estimate == pytest.approx(result.correlation.estimate, abs=1e-4)
    assert len(next(iter(kept.values()))) == 3, "three templates for two relations"
    assert json.dumps(plain(done.scores()), allow_nan=False)
    with pytest.raises(UsageError, match="given twice"):
        study(loaded, [relation, relation], FAST)
    with pytest.raises(UsageError, match="relation lost: only 0 of 2 words"):
        lincorr(loaded, lost, FAST)


def test_own_subjects_replace_the_draw(loaded, relation):
    subjects = [f"word {i}" for i in range(60)]
    done = study(loaded, [relation], FAST, subjects=subjects)
    assert done.subjects == tuple(subjects) and done.results["city-country"].fit_rows == 30


def test_recollect_reads_the_same_prompts_of_a_model_with_these_tokens(loaded, relation):
    done = study(loaded, [relation], FAST)
    before = done.tables["city-country"]
    other = tiny(seed=5)
    after = recollect(other, before, FAST)
    assert after.source.subjects == before.source.subjects and after.source.model == other.identity
    assert not np.allclose(after.source.values, before.source.values)
    stranger = tiny(seed=5)
    stranger.tokenizer.add_tokens(["unused"])
    vocabulary = stranger.tokenizer.get_vocab()
    paris, rome = (vocabulary[token] for token in ("\u0120Paris", "\u0120Rome"))
    swap = {"\u0120Paris": rome, "\u0120Rome": paris}
    plain = stranger.tokenizer.convert_tokens_to_ids
    stranger.tokenizer.convert_tokens_to_ids = lambda token: swap.get(token, plain(token))
    with pytest.raises(UsageError, match="another tokenizer"):
        recollect(stranger, before, FAST)


def test_restricted_tables_keep_words_gold_and_columns_together(loaded, relation):
    tables = study(loaded, [relation], FAST).tables["city-country"]
    few = restricted(tables, [4, 1])
    assert few.source.words.labels == (tables.source.words.labels[1], tables.source.words.labels[4])
    np.testing.assert_array_equal(few.source.values, tables.source.values[:, [1, 4]])
    assert few.gold == (tables.gold[1], tables.gold[4])
    assert set(few.source.words.entries) == set(few.source.words.labels)
