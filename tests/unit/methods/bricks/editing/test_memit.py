"""Many facts at once against the single edit and the exact limit; and edits of a model that knows its facts."""

import numpy as np
import pytest
import torch

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.bricks.editing.answers import base_answers_right
from armillary.methods.bricks.editing.facts import Fact, Neighbour
from armillary.methods.bricks.editing.key_value import KeyCovariance, ValueSettings, key_covariances
from armillary.methods.bricks.editing.memit import edit_facts, free_space, many_keys, many_keys_apart
from armillary.methods.bricks.editing.metrics import FactOutcome, FactReading, edit_outcome, score_edits, side_effects
from armillary.methods.bricks.editing.rome import choose_layer, edit_fact, key_direction
from armillary.methods.bricks.growth.partial_training import train_on_texts
from armillary.methods.bricks.low_rank import applied
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel, tiny
from armillary.models.feed_forward import feed_forward
from armillary.models.tiny_models import ALL
from armillary.records.plain import plain

CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Germany": "Berlin",
    "Austria": "Vienna",
    "Greece": "Athens",
    "Portugal": "Lisbon",
    "Ireland": "Dublin",
    "Norway": "Oslo",
    "Egypt": "Cairo",
}
PROMPTS = ("The capital of {} is", "The city of {} is called", "People of {} meet in")
PREFIXES = ("", "It is true. ", "We know it: ")
STRONG = ValueSettings(steps=60, rate=1.0, largest=20.0)
"""A model this small tells its facts by several ways at once: one vector has to shout."""

LISTS = [" ".join(group[start : start + 12]) for group in ALL for start in range(0, max(1, len(group) - 12), 5)]


def fact(country: str) -> Fact:
    names = list(CAPITALS)
    new = CAPITALS[names[(names.index(country) + 3) % len(names)]]
    near = [name for name in names if name != country and CAPITALS[name] != new]
    return Fact(
        subject=country,
        prompt=PROMPTS[0],
        target_true=CAPITALS[country],
        target_new=new,
        paraphrases=PROMPTS[1:],
        neighbours=tuple(Neighbour(subject=name, answer=CAPITALS[name]) for name in near),
    )


def problem(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    general = torch.randn(300, 12, generator=generator, dtype=torch.float64) * torch.linspace(0.2, 3, 12)
    keys = torch.randn(12, n, generator=generator, dtype=torch.float64)
    residuals = torch.randn(5, n, generator=generator, dtype=torch.float64)
    return keys, residuals, general.T @ general / 300


def test_it_equals_the_formula_as_it_is_printed() -> None:
    keys, _, moment = problem(4)
    for weight in (0.5, 15_000.0):
        printed = keys.T @ torch.linalg.inv(weight * moment + keys @ keys.T)
        torch.testing.assert_close(many_keys(keys, moment, weight), printed, rtol=1e-8, atol=1e-12)


def test_one_key_without_weight_is_the_single_edit() -> None:
    keys, _, moment = problem(1)
    single = key_direction(keys[:, 0], moment).direction_M
    assert float((many_keys(keys, moment, 0)[0] - single).abs().max()) < 1e-12
    distances = [float((many_keys(keys, moment, w)[0] - single).norm()) for w in (1.0, 1e-2, 1e-4)]
    assert distances[0] > distances[1] > distances[2] and distances[2] < 1e-4 * float(single.norm())


def test_independent_keys_are_all_hit_in_the_limit() -> None:
    keys, residuals, moment = problem(4)
    inverse = torch.linalg.inv(moment)
    limit = torch.linalg.inv(keys.T @ inverse @ keys) @ keys.T @ inverse
    result = many_keys(keys, moment, 0)
    torch.testing.assert_close(result, limit, rtol=1e-9, atol=1e-12)
    assert float((residuals @ result @ keys - residuals).abs().max()) < 1e-10
    assert float((residuals @ many_keys(keys, moment, 100.0) @ keys - residuals).abs().max()) > 1e-2


def test_dependent_keys_are_refused_only_without_weight() -> None:
    keys, _, moment = problem(2)
    twice = torch.cat([keys, keys[:, :1]], dim=1)
    with pytest.raises(NumericError, match="depend on one another"):
        many_keys(twice, moment, 0)
    assert bool(many_keys(twice, moment, 1.0).isfinite().all())
    with pytest.raises(UsageError, match="at least 0"):
        many_keys(keys, moment, -1.0)


def test_the_free_space_leaves_protected_keys_alone() -> None:
    generator = torch.Generator().manual_seed(5)
    basis, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64))
    general = torch.randn(300, 7, generator=generator, dtype=torch.float64) @ basis[:, :7].T
    keys, residuals, _ = problem(3)
    free = free_space(general.T @ general / 300, protected=1 - 1e-9)
    torch.testing.assert_close(free @ free, free)
    assert round(float(free.trace())) == 5
    result = many_keys_apart(keys, free, 0)
    assert float((residuals @ result @ general.T).abs().max()) < 1e-10
    assert float((residuals @ result @ keys - residuals).abs().max()) < 1e-9
    with pytest.raises(UsageError, match="between 0 and 1"):
        free_space(torch.eye(3), 1.0)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "gpt_neox"])
def test_a_spread_edit_reaches_what_was_wanted(kind: str) -> None:
    loaded = tiny(kind, layers=4)
    facts = [fact(name) for name in ("France", "Italy", "Spain")]
    covariances = key_covariances(loaded, LISTS, [0, 1, 2])
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    short = ValueSettings(steps=5)
    exact = edit_facts(loaded, facts, [0, 1, 2], covariances, weight=0, settings=short, require_known=False)
    assert min(exact.reached) > 0.999
    assert all(a.shape[0] == 3 for a, _ in exact.payload.factors.values()) and len(exact.payload.factors) == 3
    weak = edit_facts(loaded, facts, [0, 1, 2], covariances, settings=short, require_known=False)
    assert max(weak.reached) < 0.1
    assert all(torch.equal(before[name], value) for name, value in loaded.model.state_dict().items())


def test_a_norm_after_the_block_allows_one_layer_only() -> None:
    loaded = tiny("gemma3", layers=4)
    facts, short = [fact("France"), fact("Italy")], ValueSettings(steps=5)
    covariances = key_covariances(loaded, LISTS, [0, 1])
    with pytest.raises(ModelError, match="give one layer"):
        edit_facts(loaded, facts, [0, 1], covariances, settings=short, require_known=False)
    one = edit_facts(loaded, facts, [1], covariances, weight=0, settings=short, require_known=False)
    assert min(one.reached) > 0.999


def test_one_fact_and_one_layer_is_the_single_edit() -> None:
    loaded, short = tiny("llama"), ValueSettings(steps=5)
    covariances = key_covariances(loaded, LISTS, [0])
    many = edit_facts(loaded, [fact("France")], [0], covariances, weight=0, settings=short, require_known=False)
    one = edit_fact(loaded, fact("France"), 0, covariances[0], settings=short, require_known=False)
    path = feed_forward(loaded, 0).write_path
    torch.testing.assert_close(many.payload.delta(path), one.payload.delta(path), rtol=1e-4, atol=1e-6)


def test_bad_batches_are_refused() -> None:
    loaded = tiny("llama")
    covariances = key_covariances(loaded, LISTS, [0])
    for facts, layers, sentence in (
        ([], [0], "at least one fact"),
        ([fact("France"), fact("France")], [0], "each subject once"),
        ([fact("France")], [1, 0], "rising order"),
        ([fact("France")], [1], "no covariance"),
        ([fact("France")], [0], "does not answer"),
    ):
        with pytest.raises(UsageError, match=sentence):
            edit_facts(loaded, facts, layers, covariances)


@pytest.fixture(scope="module")
def knowing() -> LoadedModel:
    """A model that was taught ten capitals in three wordings."""
    loaded = tiny("llama", layers=3, hidden=48, intermediate=96)
    texts = [
        f"{prefix}{prompt.format(country)} {capital}"
        for country, capital in CAPITALS.items()
        for prompt in PROMPTS
        for prefix in PREFIXES
    ]
    train_on_texts(loaded, list(loaded.model.parameters()), texts, steps=120, batch=16, rate=3e-3)
    return loaded


@pytest.fixture(scope="module")
def covariance(knowing: LoadedModel) -> KeyCovariance:
    texts = [f"{p}{q.format(c)} {a}" for c, a in CAPITALS.items() for q in PROMPTS for p in PREFIXES]
    return key_covariances(knowing, texts + LISTS, [0])[0]


def edited(
    loaded: LoadedModel, covariance: KeyCovariance | None, countries: list[str]
) -> tuple[list[FactOutcome], list[float]]:
    """Each fact edited alone, and the divergence of each edit on lists of words."""
    edits = [edit_fact(loaded, fact(c), 0, covariance, prefixes=PREFIXES, settings=STRONG) for c in countries]
    outcomes = [one for edit in edits for one in edit_outcome(loaded, [edit.fact], edit.payload)]
    return outcomes, [side_effects(loaded, edit.payload, LISTS[:8]).divergence.estimate for edit in edits]


def test_an_edit_is_local_in_the_metric_of_general_keys(knowing: LoadedModel, covariance: KeyCovariance) -> None:
    assert all(base_answers_right(knowing, [fact(country) for country in CAPITALS]))
    countries = ["France", "Italy", "Spain"]
    ours, ours_elsewhere = edited(knowing, covariance, countries)
    plain, plain_elsewhere = edited(knowing, None, countries)
    for one in ours:
        assert one.after.new[0] > one.before.new[0] + 2
    result, other = score_edits(ours), score_edits(plain)
    assert result.efficacy_before.estimate == 0 and result.efficacy.estimate > 0 and result.generation.estimate > 0
    assert result.locality is not None and result.unchanged is not None and other.unchanged is not None
    assert result.locality.estimate == 1.0
    assert result.unchanged.estimate > other.unchanged.estimate
    assert abs(result.largest_off_target) < abs(other.largest_off_target)
    assert all(a < b for a, b in zip(ours_elsewhere, plain_elsewhere, strict=True))


def test_the_layer_is_chosen_on_other_facts(knowing: LoadedModel, covariance: KeyCovariance) -> None:
    result = choose_layer(
        knowing, [fact("France")], [0, 2], None, meant_for=[fact("Italy")], prefixes=PREFIXES, settings=STRONG
    )
    assert result.best == 0 and set(result.scores) == {0} and "earlier layer" in result.refused[2]
    assert set(plain(result)) == {"scores", "refused", "best"}
    with pytest.raises(UsageError, match="France"):
        choose_layer(knowing, [fact("France")], [0], None, meant_for=[fact("France")])


def test_no_change_has_no_side_effects_and_a_large_one_is_seen() -> None:
    loaded = tiny("gpt2")
    path = feed_forward(loaded, 0).write_path
    nothing = side_effects(loaded, LowRank({path: (torch.zeros(1, 48), torch.zeros(32, 1))}), LISTS[:5])
    assert nothing.divergence.estimate == 0 and nothing.nll_change.estimate == 0 and nothing.same_top.estimate == 1
    change = LowRank({path: (torch.randn(1, 48), torch.randn(32, 1))})
    result = side_effects(loaded, change, LISTS[:5])
    ids = [torch.tensor([loaded.tokenizer(text)["input_ids"]]) for text in LISTS[:5]]
    kls, nlls = [], []
    for one in ids:
        with torch.no_grad():
            base = loaded.model(input_ids=one).logits[0, :-1].double().log_softmax(-1)
            with applied(loaded, change):
                new = loaded.model(input_ids=one).logits[0, :-1].double().log_softmax(-1)
        kls.append((base.exp() * (base - new)).sum(-1))
        nlls.append(float((base - new).gather(1, one[0, 1:, None]).mean()))
    assert result.divergence.estimate == pytest.approx(float(np.mean([float(kl.mean()) for kl in kls])), rel=1e-3)
    assert result.nll_change.estimate == pytest.approx(float(np.mean(nlls)), rel=1e-3)
    assert result.largest_divergence == pytest.approx(max(float(kl.max()) for kl in kls), rel=1e-3)
    assert result.worst_text == LISTS[int(np.argmax([float(kl.max()) for kl in kls]))]
    one = side_effects(loaded, change, LISTS[:5], tokens_per_batch=1)
    assert one.divergence.estimate == pytest.approx(result.divergence.estimate, rel=1e-4)


def reading(new: list[float], true: list[float], near: list[float], own: list[float], top: list[int]) -> FactReading:
    return FactReading(
        new=tuple(new),
        true=tuple(true),
        neighbour_new=tuple(near),
        neighbour_true=tuple(own),
        neighbour_top=tuple(top),
        generated=" Rome is",
    )


def test_scores_by_hand() -> None:
    one = Fact(
        subject="a",
        prompt="of {} is",
        target_true="b",
        target_new="Rome",
        paraphrases=("{} is", "is {} in"),
        neighbours=(Neighbour(subject="c", answer="d"), Neighbour(subject="e", answer="f")),
    )
    before = reading([-5, -5, -5], [-1, -1, -1], [-5, -5], [-1, -1], [7, 8])
    hit = FactOutcome(fact=one, before=before, after=reading([-1, -1, -5], [-5, -5, -1], [-5, 0], [-1, -4], [7, 9]))
    miss = FactOutcome(fact=one, before=before, after=before)
    result = score_edits([hit, miss])
    assert result.efficacy.estimate == 0.5 and result.efficacy_before.estimate == 0.0
    assert result.generalisation is not None and result.generalisation.estimate == 0.25
    assert result.locality is not None and result.locality.estimate == 0.75
    assert result.unchanged is not None and result.unchanged.estimate == 0.75
    assert result.generation.estimate == 1.0
    assert result.score is not None and result.score.estimate == pytest.approx(3 / (1 / 0.5 + 1 / 0.25 + 1 / 0.75))
    assert result.largest_off_target == -3.0
    assert result.efficacy.low is not None and result.facts == 2
    bare = Fact(subject="a", prompt="of {} is", target_true="b", target_new="Rome")
    only = FactOutcome(fact=bare, before=reading([-5], [-1], [], [], []), after=reading([-1], [-5], [], [], []))
    none = score_edits([only])
    assert none.generalisation is None and none.locality is None and none.score is None
    assert none.largest_off_target == 0.0
    with pytest.raises(UsageError, match="at least one"):
        score_edits([])
