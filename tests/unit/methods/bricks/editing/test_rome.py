"""One fact edited: the closed form against its definition, the brick against the searched vector, the errors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from armillary.activations import run_texts, streaming
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.editing import key_value as edit_value
from armillary.methods.bricks.editing.answers import FactRow, base_answers_right, fact_row, fact_rows, score_answers
from armillary.methods.bricks.editing.facts import Fact, Neighbour, capital_facts
from armillary.methods.bricks.editing.key_value import (
    KeyCovariance,
    ValueSettings,
    added_at,
    find_value,
    key_covariances,
    read_subject,
)
from armillary.methods.bricks.editing.rome import edit_fact, key_direction
from armillary.methods.bricks.low_rank import applied
from armillary.methods.bricks.payloads import LowRank
from armillary.models import KINDS, LoadedModel, tiny
from armillary.models.feed_forward import feed_forward, weight_OI
from armillary.models.tiny_models import ALL
from stored import Keep

TEXTS = [" ".join(group[start : start + 12]) for group in ALL for start in range(0, max(1, len(group) - 12), 5)]
FACT = Fact(subject="France", prompt="The capital of {} is", target_true="Paris", target_new="Rome")
SHORT = ValueSettings(steps=4)


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def bits(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


def hooks(loaded: LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())


def problem(m: int = 12, d: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    general = torch.randn(200, m, generator=generator, dtype=torch.float64) * torch.linspace(0.2, 3, m)
    weight = torch.randn(d, m, generator=generator, dtype=torch.float64)
    key = torch.randn(m, generator=generator, dtype=torch.float64)
    value = torch.randn(d, generator=generator, dtype=torch.float64)
    return weight, key, value, general, general.T @ general / len(general)


def test_the_closed_form_writes_the_value_exactly_and_moves_no_orthogonal_key() -> None:
    weight, key, value, _, moment = problem()
    result = key_direction(key, moment)
    changed = weight + torch.outer(value - weight @ key, result.direction_M)
    assert float((changed @ key - value).abs().max()) < 1e-10
    assert int(torch.linalg.matrix_rank(changed - weight)) == 1
    others = torch.randn(12, 7, dtype=torch.float64)
    u = torch.linalg.solve(moment, key)
    apart = others - torch.outer(key, u @ others) / (u @ key)
    assert float((u @ apart).abs().max()) < 1e-10
    assert float((changed @ apart - weight @ apart).abs().max()) < 1e-10
    assert float((changed @ others - weight @ others).abs().max()) > 1e-2
    plain = key_direction(key, None)
    straight = others - torch.outer(key, key @ others) / (key @ key)
    assert float((plain.direction_M @ straight).abs().max()) < 1e-12
    assert float((result.direction_M @ straight).abs().max()) > 1e-3


def test_the_closed_form_is_the_smallest_change_that_writes_the_value() -> None:
    weight, key, value, _, moment = problem()
    residual = value - weight @ key
    best = torch.outer(residual, key_direction(key, moment).direction_M)

    def cost(change: torch.Tensor) -> float:
        return float(torch.trace(change @ moment @ change.T))

    for seed in range(20):
        free = torch.randn(5, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        free -= torch.outer(free @ key, key) / (key @ key)
        assert float((free @ key).abs().max()) < 1e-12
        assert cost(best + 0.1 * free) > cost(best)
        assert cost(best - 0.1 * free) > cost(best)


def test_separation_is_how_little_general_keys_move() -> None:
    weight, key, value, general, moment = problem()
    residual = value - weight @ key
    result = key_direction(key, moment)
    moved = (torch.outer(residual, result.direction_M) @ general.T).square().sum(0).mean()
    assert float(moved) == pytest.approx(float(residual.square().sum()) / result.separation, rel=1e-10)


def test_a_key_that_is_like_all_others_is_refused() -> None:
    moment = torch.eye(6, dtype=torch.float64)
    moment[0, 0] = 1e4
    key = torch.zeros(6, dtype=torch.float64)
    key[0] = 50.0
    with pytest.raises(NumericError, match="can't be told"):
        key_direction(key, moment)
    assert key_direction(key * 3, moment).separation == pytest.approx(2.25)
    with pytest.raises(NumericError, match="can't be told"):
        key_direction(key * 0, None)
    with pytest.raises(NumericError, match="positive definite"):
        key_direction(key, moment * 0)


def test_covariance_equals_stored_keys_whatever_the_batches(loaded: LoadedModel) -> None:
    keep = Keep()
    with streaming(loaded, "ffn", keep):
        run_texts(loaded, TEXTS)
    result = key_covariances(loaded, TEXTS, [1])
    keys = keep.values(1).double()
    assert result[1].tokens == len(keys)
    torch.testing.assert_close(result[1].second_moment_MM, keys.T @ keys / len(keys), rtol=1e-5, atol=1e-7)
    single = key_covariances(loaded, TEXTS[:9], [0, 1], tokens_per_batch=1)[1].second_moment_MM
    together = key_covariances(loaded, TEXTS[:9], [1])[1].second_moment_MM
    torch.testing.assert_close(single, together, rtol=1e-4, atol=1e-6)
    ridged = result[1].with_ridge(0.5) - result[1].second_moment_MM
    torch.testing.assert_close(ridged, torch.eye(48).double() * keys.square().mean() * 0.5, rtol=1e-4, atol=1e-8)


def test_the_subject_is_found_after_every_prefix(loaded: LoadedModel) -> None:
    fact = Fact(subject="New Zealand", prompt="{}'s capital is the city of", target_true="Oslo", target_new="Rome")
    for row in fact_rows(loaded, fact, ["", "Once upon a time. "], answer="Rome"):
        upto = loaded.tokenizer.decode(row.ids[: row.subject + 1])
        assert upto.endswith("New Zealand")
        assert loaded.tokenizer.decode(row.ids[row.answer :]).strip() == "Rome"
    with pytest.raises(UsageError, match=r"not in 'The sea', whose tokens are \[.*'h', 'e', ' sea'\]"):
        fact_row(loaded, "The sea", "France")


def test_answers_are_scored_as_by_the_model_itself(loaded: LoadedModel) -> None:
    prompts, answers = ["The capital of France is", "red", "one two"], ["Paris", "Rome and Oslo", "three"]
    result = score_answers(loaded, prompts, answers)
    for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        start = len(loaded.tokenizer(prompt)["input_ids"])
        ids = torch.tensor([loaded.tokenizer(f"{prompt} {answer}")["input_ids"]])
        with torch.no_grad():
            logits = loaded.model(input_ids=ids).logits[0].double()
        logprobs = logits.log_softmax(-1)
        wanted = sum(float(logprobs[position - 1, ids[0, position]]) for position in range(start, ids.shape[1]))
        assert result.logprobs[index] == pytest.approx(wanted, abs=1e-4)
        assert result.first[index] == int(logits[start - 1].argmax())
        positions = range(start, ids.shape[1])
        is_greedy = all(int(logits[position - 1].argmax()) == int(ids[0, position]) for position in positions)
        assert bool(result.greedy[index]) == is_greedy
    top = loaded.tokenizer.decode([int(result.first[0])])
    if top.startswith(" ") and top.strip():
        assert score_answers(loaded, prompts[:1], [top.strip()]).greedy[0]


@pytest.mark.parametrize("general", [True, False])
def test_the_brick_does_what_the_vector_did(loaded: LoadedModel, general: bool) -> None:
    covariance = key_covariances(loaded, TEXTS, [0])[0] if general else None
    before = bits(loaded)
    edit = edit_fact(loaded, FACT, 0, covariance, prefixes=[""], settings=SHORT, require_known=False)
    rows = fact_rows(loaded, FACT, [""])
    value = find_value(loaded, FACT, 0, prefixes=[""], settings=SHORT)
    was = read_subject(loaded, rows, [0])[0]
    with applied(loaded, edit.payload):
        now = read_subject(loaded, rows, [0])[0]
        torch.testing.assert_close(now.write_D, was.write_D + value.delta_D, rtol=1e-4, atol=1e-4)
    assert value.losses[-1] < value.losses[0]
    assert float(value.delta_D.norm()) <= 4.0 * value.base_norm * (1 + 1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in bits(loaded).items())
    assert edit.to_dict()["paths"] == [feed_forward(loaded, 0).write_path]


def test_the_loss_of_a_value_is_its_definition(loaded: LoadedModel) -> None:
    settings = ValueSettings(steps=4, divergence=0.5, decay=0.3)
    value = find_value(loaded, FACT, 0, prefixes=["", "red and "], settings=settings)
    write = feed_forward(loaded, 0).write

    def logprobs(row: FactRow, delta_D: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), added_at(write, torch.tensor([row.subject]), delta_D):
            return loaded.model(input_ids=torch.tensor([row.ids])).logits[0].double().log_softmax(-1)

    rows = fact_rows(loaded, FACT, ["", "red and "], answer="Rome")
    essence = fact_row(loaded, "France is a", "France")
    still = torch.zeros(32)
    for delta_D, loss in ((still, value.losses[0]), (value.delta_D.float(), value.losses[-1])):
        spans = [(row, range(row.answer, len(row.ids))) for row in rows]
        nlls = [-np.mean([float(logprobs(row, delta_D)[t - 1, row.ids[t]]) for t in span]) for row, span in spans]
        base, now = logprobs(essence, still)[-1], logprobs(essence, delta_D)[-1]
        divergence = float((now.exp() * (now - base)).sum())
        wanted = np.mean(nlls) + 0.5 * divergence + 0.3 * float(delta_D.norm()) / value.base_norm**2
        assert loss == pytest.approx(float(wanted), abs=1e-4)


def test_an_edit_as_a_low_rank_path_equals_the_edit_in_the_matrix(loaded: LoadedModel) -> None:
    edit = edit_fact(loaded, FACT, 0, None, prefixes=[""], settings=SHORT, require_known=False)
    block = feed_forward(loaded, 0)
    a_RI, b_OR = edit.payload.factors[block.write_path]
    assert a_RI.shape == (1, 48) and b_OR.shape == (32, 1)
    x = torch.randn(9, 48) * 0.1
    beside = block.write(x) + (x @ a_RI.T) @ b_OR.T
    with applied(loaded, edit.payload):
        inside = block.write(x)
    assert float((beside - inside).detach().abs().max()) <= 1e-6 * max(1.0, float(b_OR.abs().max()))


def test_an_interrupted_edit_leaves_the_source_untouched(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before, flags = bits(loaded), [p.requires_grad for p in loaded.model.parameters()]
    real, calls = edit_value.run_body, iter(range(100))

    def interrupted(*args: Any, **settings: Any) -> torch.Tensor:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **settings)

    monkeypatch.setattr(edit_value, "run_body", interrupted)
    with pytest.raises(KeyboardInterrupt):
        edit_fact(loaded, FACT, 0, None, require_known=False)
    assert next(calls) == 4
    assert all(torch.equal(before[name], value) for name, value in bits(loaded).items())
    assert hooks(loaded) == 0
    assert flags == [p.requires_grad for p in loaded.model.parameters()]
    assert all(p.grad is None for p in loaded.model.parameters())
    with pytest.raises(KeyboardInterrupt), applied(loaded, _change(loaded)):
        raise KeyboardInterrupt
    assert all(torch.equal(before[name], value) for name, value in bits(loaded).items())


def _change(loaded: LoadedModel) -> LowRank:
    return LowRank({feed_forward(loaded, 0).write_path: (torch.ones(1, 48), torch.ones(32, 1))})


def test_the_last_layer_can_not_reach_an_answer_further_on(loaded: LoadedModel) -> None:
    with pytest.raises(NumericError, match="edit an earlier layer"):
        edit_fact(loaded, FACT, 1, None, settings=SHORT, require_known=False)


def cases() -> Iterator[tuple[Callable[[LoadedModel], object], str]]:
    other = KeyCovariance(layer=1, second_moment_MM=torch.eye(48, dtype=torch.float64), tokens=1)
    yield lambda loaded: edit_fact(loaded, FACT, 0, None), "does not answer 'The capital of France is'"
    yield lambda loaded: edit_fact(loaded, FACT, 0, other), "covariance is of layer 1"
    yield lambda loaded: edit_fact(loaded, FACT, 2, None, require_known=False), "0 to 1"
    yield lambda loaded: fact_rows(loaded, FACT, []), "at least one prefix"
    yield lambda loaded: fact_row(loaded, "Paris France", "Paris Fra"), "goes on past"
    yield lambda loaded: key_covariances(loaded, [], [0]), "at least one text"
    yield lambda loaded: Fact.from_prompt("The capital of it is", "France", "Paris", "Rome"), "exactly once"
    yield lambda loaded: Fact(subject="a", prompt="of {} is ", target_true="b", target_new="c"), "exactly one"
    yield lambda loaded: Fact(subject="a", prompt="of {} is", target_true="b", target_new="b"), "is the old one"
    yield (
        lambda loaded: Fact(
            subject="a",
            prompt="of {} is",
            target_true="b",
            target_new="c",
            neighbours=(Neighbour(subject="d", answer="c"),),
        ),
        "the new answer itself",
    )
    yield lambda loaded: capital_facts(0), "count must be"
    yield lambda loaded: capital_facts(1, countries=["Atlantis"]), "Atlantis"


@pytest.mark.parametrize("act, sentence", list(cases()))
def test_bad_input_is_refused_before_anything_is_touched(act: Callable[[LoadedModel], object], sentence: str) -> None:
    loaded = tiny("llama")
    before = bits(loaded)
    with pytest.raises(UsageError, match=sentence):
        act(loaded)
    assert all(torch.equal(before[name], value) for name, value in bits(loaded).items())


def test_a_fact_can_be_written_out() -> None:
    fact = Fact.from_prompt("The capital of France is", "France", "Paris", "Rome")
    assert fact == FACT


def test_capital_facts_are_true_apart_and_the_same_for_a_seed() -> None:
    facts = capital_facts(20, seed=1)
    assert len({fact.subject for fact in facts}) == 20 and facts == capital_facts(20, seed=1)
    assert facts != capital_facts(20, seed=2)
    for fact in facts:
        assert len(fact.neighbours) == 10
        assert fact.target_new not in {one.answer for one in fact.neighbours} | {fact.target_true}
        assert fact.subject not in {one.subject for one in fact.neighbours}
    (france,) = capital_facts(countries=["France"])
    assert france.target_true == "Paris"


def test_only_known_facts_count() -> None:
    loaded = tiny("llama")
    first = score_answers(loaded, ["The capital of France is"], ["Paris"]).first[0]
    word = loaded.tokenizer.decode([int(first)]).strip()
    known = Fact(subject="France", prompt="The capital of {} is", target_true=word, target_new="Rome")
    right = score_answers(loaded, ["The capital of France is"], [word]).greedy[0]
    assert base_answers_right(loaded, [FACT, known]) == [False, bool(right)]
    assert np.isfinite(weight_OI(feed_forward(loaded, 0).write).detach().numpy()).all()
