"""The rules of UltraGen's claims decide as they say, the small decoder is what it says, and the quick scale runs."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.cards import CARDS, ULTRAGEN
from armillary.cli import reproduce
from armillary.cli.reproduce import JOBS, ReproduceSettings
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.ultragen import decoder
from reproductions.ultragen.claims import CLAIMS
from reproductions.ultragen.decoder import Batch, Decoder, Pair, Shape, answer_logprobs
from reproductions.ultragen.real.claims import REAL_CLAIMS
from reproductions.ultragen.real.texts import unwrapped
from reproductions.ultragen.world import derive, draw_text, prompt

SHAPE = Shape(layers=2, width=16, heads=2, inner=24)


def outcome(claim: str, measures: dict[str, Interval]) -> str:
    (chosen,) = [one for one in (*CLAIMS, *REAL_CLAIMS) if one.id == claim]
    wide = Interval(estimate=0.5, low=0.4, high=0.6)
    return judge([chosen], dict.fromkeys(chosen.names, wide) | measures)[0].outcome


def about(value: float, width: float = 0.004) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width)


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.05, "holds"), (0.001, "fails"), (0.02, "undecided: interval too wide")]
)
def test_a_gain_of_three_points_is_asked_for_and_less_than_one_is_none(gain: float, verdict: str) -> None:
    assert outcome("gpo-generalises", {"gpo/global beyond ar": about(gain)}) == verdict
    assert outcome("margin-saves-pairs", {"wide_pairs/global beyond any_pairs": about(gain)}) == "holds"


def test_a_bias_is_shown_on_either_side_and_refuted_only_around_zero() -> None:
    name = "real/slope over the place"
    for slope, verdict in ((0.5, "holds"), (-0.5, "holds"), (0.0, "fails")):
        assert outcome("real-position", {name: about(slope, 0.1)}) == verdict
    assert outcome("real-position", {name: about(0.0, 0.5)}) == "undecided: interval too wide"


def test_sampling_with_the_cache_draws_what_the_whole_row_foretells() -> None:
    draw = np.random.default_rng(0)
    torch.manual_seed(0)
    model = Decoder(SHAPE)
    prompts = [prompt(derive(draw_text(draw), draw)[:size]) for size in (2, 5, 9)]
    answers = decoder.sample(model, prompts, temperature=1e-4, seed=0)  # the likeliest token
    for request, answer in zip(prompts, answers, strict=True):
        batch = Batch.of([(request, answer)])
        with torch.no_grad():
            states, _, _ = model(batch.tokens_BTG, batch.positions_BT, batch.mask_B1TT)
            likeliest = model.logits(states)[0, len(request) - 1 : len(request) - 1 + len(answer)].argmax(-1)
        assert likeliest.tolist() == answer


def test_padding_changes_no_log_probability_and_attention_sums_to_one() -> None:
    draw = np.random.default_rng(1)
    torch.manual_seed(1)
    model = Decoder(SHAPE)
    rows = [(prompt(derive(text, draw)[:size]), text) for size, text in ((3, draw_text(draw)), (12, draw_text(draw)))]
    with torch.no_grad():
        together = answer_logprobs(model, Batch.of(rows))
        alone = torch.cat([answer_logprobs(model, Batch.of([row])) for row in rows])
    assert torch.allclose(together, alone, atol=1e-4)
    batch = Batch.of(rows)
    assert torch.allclose(decoder.attention(model, batch).sum(-1), torch.ones(2, batch.tokens_BTG.shape[1]), atol=1e-5)


def test_training_fits_a_row_and_preference_widens_the_margin() -> None:
    draw = np.random.default_rng(2)
    torch.manual_seed(2)
    model = Decoder(SHAPE)
    text, other = draw_text(draw), draw_text(draw)
    request = prompt(derive(text, draw)[:4])
    losses = decoder.fit(model, [[(request, text)] * 2] * 12, 1e-2)
    assert losses[-1] < losses[0] - 0.5
    pairs = [Pair(request, other, text, 0.5)] * 4  # the worse one first, so that the fit does not help

    def margin(tuned: Decoder) -> float:
        chosen, rejected = decoder.pair_logprobs(tuned, pairs, 4)
        return float((chosen - rejected).mean())

    tuned = copy.deepcopy(model)
    decoder.prefer(tuned, pairs, rate=1e-2, beta=0.1, epochs=3, batch=2, seed=0)
    assert margin(tuned) > margin(model) + 1


def test_docstrings_keep_paragraphs_and_lists() -> None:
    docstring = "One line\n    that goes on.\n\n    - an item\n      that goes on\n    - another\n\n    The end."
    assert unwrapped(docstring) == "One line that goes on.\n\n- an item that goes on\n- another\n\nThe end."


def test_the_quick_scale_runs_through_and_judges_every_claim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(decoder, "LONGEST_TEXT", 3)
    monkeypatch.setattr(reproduce, "CARDS", (*(card for card in CARDS if card.name != "ultragen"), ULTRAGEN))
    settings = ReproduceSettings(method="ultragen", preset="quick", model="tiny-llama")
    record = JOBS["reproduce"].run(settings, tmp_path / "out")
    assert {name for claim in CLAIMS for name in claim.names} <= set(record.measures)
    assert [claim.id for claim in record.claims] == [claim.id for claim in CLAIMS]
