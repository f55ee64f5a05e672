"""Neurons switched off, masked and truncated: against edited weights and by hand, and what the tables say."""

from itertools import chain

import numpy as np
import pytest
import torch

from armillary.activations import run_texts, streaming
from armillary.activations.neurons import changed, column_norms
from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.bricks.losses import Losses, effect, text_losses
from armillary.methods.bricks.neurons.ablation import AblationTable, _silencer, ablate, ablated
from armillary.methods.bricks.neurons.sparsity import (
    ablation_curve,
    cett,
    cett_curve,
    cett_thresholds,
    crossing,
    indicator_gain,
    lot_ablated,
    lowest_ablated,
    truncated,
)
from armillary.methods.bricks.payloads import Index
from armillary.models import LoadedModel, tiny
from armillary.models.batches import pad, run_body
from armillary.scoring import sequence_nll
from stored import Keep

TEXTS = {
    "cities": ["Paris is a city of France", "London and Berlin and Rome are old and rich cities", "Oslo is cold"],
    "colours": ["the grass is green and the sky is blue", "red blood", "gold is yellow", "black coal and white snow"],
}
CHOSEN = Index({0: np.array([0, 3, 17]), 1: np.arange(40)})


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2", "opt", "qwen3"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def logits(loaded: LoadedModel) -> torch.Tensor:
    ids = torch.tensor([loaded.tokenizer(" ".join(TEXTS["cities"]))["input_ids"]])
    with torch.no_grad():
        return loaded.model(input_ids=ids).logits


def test_knock_out_is_bit_equal_to_zeroed_columns(loaded: LoadedModel) -> None:
    before = logits(loaded)
    silent = {layer: _silencer(neurons) for layer, neurons in CHOSEN.neurons.items()}
    with changed(loaded, silent):
        hooked = logits(loaded)
    assert torch.equal(logits(loaded), before)
    originals = [write.weight.detach().clone() for write in loaded.anatomy.ffn_writes]
    with torch.no_grad():
        for layer, neurons in CHOSEN.neurons.items():
            weight = loaded.anatomy.ffn_writes[layer].weight
            (weight if weight.shape[0] == 48 else weight.T)[neurons] = 0
        zeroed = logits(loaded)
        for write, original in zip(loaded.anatomy.ffn_writes, originals, strict=True):
            write.weight.copy_(original)
    assert torch.equal(hooked, zeroed) and not torch.equal(hooked, before)


def test_the_first_token_keeps_its_neurons_however_texts_are_batched(loaded: LoadedModel) -> None:
    rows = [loaded.tokenizer(text)["input_ids"] for text in TEXTS["cities"]]
    ids, mask = pad(rows, device=loaded.device)
    with torch.no_grad(), ablated(loaded, CHOSEN):
        together = run_body(loaded, ids, mask)
        for number, row in enumerate(rows):
            keep = Keep()
            with streaming(loaded, "ffn", keep):
                alone = run_body(loaded, torch.tensor([row]))[0]
            torch.testing.assert_close(together[number][mask[number].bool()], alone, rtol=1e-4, atol=1e-5)
            written = [keep.values(layer)[:, neurons] for layer, neurons in CHOSEN.neurons.items()]
            assert any(bool(part[0].any()) for part in written) and not any(bool(part[1:].any()) for part in written)


def test_hooks_go_away_and_are_missed_when_bypassed() -> None:
    loaded = tiny()
    before = logits(loaded)
    with pytest.raises(KeyError), ablated(loaded, CHOSEN):
        raise KeyError
    assert torch.equal(logits(loaded), before)
    with ablated(loaded, Index({})):
        assert torch.equal(logits(loaded), before)
    with pytest.raises(UsageError, match="outside"), ablated(loaded, Index({0: np.array([48])})):
        pass
    with pytest.raises(UsageError, match="layer 2"), changed(loaded, {2: lambda x: x}):
        pass
    with pytest.raises(ModelError, match="without its hook"), ablated(loaded, CHOSEN):
        layer = loaded.anatomy.layers[1]
        layer.mlp.forward = lambda x: torch.zeros_like(x)  # a fused kernel that never calls the write matrix
        logits(loaded)


@pytest.mark.parametrize("indicator", ["activation", "magnitude"])
def test_the_lowest_are_masked_at_every_token(loaded: LoadedModel, indicator: str) -> None:
    clean, masked = Keep(), Keep()
    texts = list(chain(*TEXTS.values()))
    with streaming(loaded, "ffn", clean):
        run_texts(loaded, texts)
    with lowest_ablated(loaded, 0.7, indicator), streaming(loaded, "ffn", masked):
        run_texts(loaded, texts)
    # Only the first layer sees the same input in both passes.
    a, kept = clean.values(0).numpy(), masked.values(0).numpy()
    size = np.abs(a) * (column_norms(loaded)[0] if indicator == "magnitude" else 1)
    order = np.argsort(size, axis=1, kind="stable")
    expected = a.copy()
    np.put_along_axis(expected, order[:, :33], 0, axis=1)  # 0.7 of 48, rounded down
    np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-6)
    assert (masked.values(1) == 0).sum(1).min() >= 33


def test_exact_counts_of_masked_neurons() -> None:
    loaded = tiny(intermediate=10)
    for share, count in ((0.0, 0), (0.3, 3), (0.7, 7), (0.99, 9)):
        keep = Keep()
        with lowest_ablated(loaded, share), streaming(loaded, "ffn", keep):
            run_texts(loaded, TEXTS["cities"])
        assert ((keep.values(0) == 0).sum(1) == count).all()
    keep, wide = Keep(), tiny(intermediate=100)
    with lowest_ablated(wide, 0.29), streaming(wide, "ffn", keep):  # 0.29 * 100 is 28.999999999999996
        run_texts(wide, TEXTS["cities"])
    assert ((keep.values(0) == 0).sum(1) == 29).all()
    with pytest.raises(UsageError, match="less than 1"), lowest_ablated(loaded, 1.0):
        pass


def test_effects_are_of_the_corpus() -> None:
    tokens = {"a": np.array([10, 30]), "b": np.array([5, 5])}
    before = Losses(nll={"a": np.array([20.0, 90.0]), "b": np.array([10.0, 10.0])}, tokens=tokens)
    after = Losses(nll={"a": np.array([24.0, 94.0]), "b": np.array([10.0, 15.0])}, tokens=tokens)
    result = effect(before, after, "a")
    assert result.delta_nll.estimate == pytest.approx(8 / 40)
    assert result.relative_perplexity.estimate == pytest.approx(np.exp((118 - 110) / 40) - 1)
    assert (result.delta_nll.low, result.delta_nll.high) == pytest.approx((4 / 30, 4 / 10))  # one text drawn twice
    assert effect(before, after).delta_nll.estimate == pytest.approx(13 / 50)
    assert before.per_token("a") == 2.75
    with pytest.raises(UsageError, match="maths"):
        effect(before, after, "maths")


def test_losses_are_those_of_the_changed_model() -> None:
    loaded = tiny()
    held: dict[str, dict[str, np.ndarray]] = {}
    table = ablate(loaded, {"some": CHOSEN, "none": Index({})}, TEXTS, store=lambda n, c: held.setdefault(n, c()))
    with ablated(loaded, CHOSEN):
        expected = sequence_nll(loaded, TEXTS["cities"])
    assert table.after["some"].nll["cities"].tolist() == expected.nll
    assert table.before.tokens["cities"].tolist() == expected.tokens
    nothing = table.effect("none", "cities").delta_nll
    assert (nothing.estimate, nothing.low, nothing.high) == (0, 0, 0)
    assert table.sizes == {"some": 43, "none": 0} and len(held) == 6
    assert table.effect("some", "cities").delta_nll.estimate == pytest.approx(
        (sum(expected.nll) - table.before.nll["cities"].sum()) / sum(expected.tokens)
    )
    with pytest.raises(UsageError, match="at least one text"):
        text_losses(loaded, {})


def made_table() -> AblationTable:
    """30 texts of 10 tokens a capability; the losses rise by known amounts, a little different in each text."""
    names = ("code", "maths", "law")
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 30))
    tokens = {name: np.full(30, 10) for name in names}
    before = Losses(nll={name: np.full(30, 30.0) for name in names}, tokens=tokens)

    def risen(*rises: float) -> Losses:
        pairs = zip(names, rises, noise, strict=True)
        return Losses(nll={name: 30 + 10 * (rise + one) for name, rise, one in pairs}, tokens=tokens)

    after = {
        "code": risen(1.0, 0.2, 0.4),
        "code without resident": risen(0.8, 0.1, 0.1),
        "random 0": risen(0.1, 0.1, 0.1),
        "random 1": risen(0.3, 0.1, 0.1),
    }
    return AblationTable(before=before, after=after, sizes=dict.fromkeys(after, 5))


def test_comparisons_of_a_table() -> None:
    table = made_table()
    others = table.own_against_others("code", "code", measure="nats")
    assert others.estimate == pytest.approx(1.0 - 0.3, abs=0.01) and others.excludes(0.0)
    assert others.low is not None and others.high is not None and others.high - others.low < 0.02
    percent = table.own_against_others("code", "code")
    assert percent.estimate == pytest.approx(np.e - 1 - (np.exp(0.2) + np.exp(0.4) - 2) / 2, abs=0.02)
    controls = table.own_against_controls("code", "code", ["random 0", "random 1"], measure="nats")
    # The noise is the same with every set switched off, so pairing takes it out.
    assert controls.estimate == pytest.approx(0.8) and controls.high == pytest.approx(0.8)
    assert table.collateral("code", "code", measure="nats").estimate == pytest.approx(0.3, abs=0.01)
    own, collateral = table.kept("code", "code without resident", "code", measure="nats")
    assert own.estimate == pytest.approx(0.8, abs=0.01) and collateral.estimate == pytest.approx(1 / 3, abs=0.02)
    for call in (
        lambda: table.collateral("code", "poetry"),
        lambda: table.effect("poetry", "code"),
        lambda: table.own_against_controls("code", "code", []),
    ):
        with pytest.raises(UsageError):
            call()


def test_crossings() -> None:
    rises = np.array([[0.0, 0.005, 0.02], [0.02, 0.5, 0.9], [0.0, 0.0, 0.001], [-0.1, 0.03, 0.0]])
    result = crossing((0.2, 0.4, 0.6), rises, 0.01)
    np.testing.assert_allclose(result, [0.4 + 0.2 / 3, 0.1, 0.6, 0.2 + 0.2 * 0.11 / 0.13])


def test_masking_curves() -> None:
    loaded = tiny()
    held: dict[str, dict[str, np.ndarray]] = {}
    curves = {
        indicator: ablation_curve(
            loaded, TEXTS, shares=(0.2, 0.6, 0.9), indicator=indicator, store=lambda n, c: held.setdefault(n, c())
        )
        for indicator in ("activation", "magnitude")
    }
    assert len(held) == 2 * (1 + 6)
    with lowest_ablated(loaded, 0.6, "activation"):
        expected = sequence_nll(loaded, TEXTS["colours"])
    assert curves["activation"].after[1].nll["colours"].tolist() == expected.nll
    gain = indicator_gain(curves["activation"], curves["magnitude"], 0.6)
    difference = curves["activation"].after[1].per_token() - curves["magnitude"].after[1].per_token()
    assert gain.estimate == pytest.approx(difference)
    assert curves["magnitude"].levels == (0.2, 0.6, 0.9)
    rises = [curves["magnitude"].effect(level).relative_perplexity.estimate for level in (0.2, 0.6, 0.9)]
    assert curves["magnitude"].knee().estimate == pytest.approx(crossing((0.2, 0.6, 0.9), np.array([rises]), 0.01)[0])
    with pytest.raises(UsageError, match="nothing was measured"):
        curves["magnitude"].effect(0.5)
    with pytest.raises(UsageError, match="rise"):
        ablation_curve(loaded, TEXTS, shares=(0.6, 0.2))


def test_cett_by_hand() -> None:
    a = torch.tensor([[3.0, -4.0, 0.5], [1.0, 0.0, -2.0]])
    write = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])  # column norms 1, 1, 2
    outputs = [(4.0, -4.0), (-3.0, 0.0)]
    # Below 3.5: neurons 0 and 2 of the first token, neurons 0 and 1 of the second.
    expected = [4 / np.hypot(*outputs[0]), 1 / 3]
    np.testing.assert_allclose(cett(a, write, 3.5), expected, rtol=1e-6)
    np.testing.assert_allclose(cett(a, write, 0.0), [0, 0])


def test_thresholds_reach_their_level(loaded: LoadedModel) -> None:
    texts = list(chain(*TEXTS.values()))
    keep = Keep()
    with streaming(loaded, "ffn", keep):
        for text in texts:
            run_texts(loaded, [text])
    result = cett_thresholds(loaded, texts, (0.1, 0.4), tokens=1000)
    norms = column_norms(loaded)
    for one in result:
        for layer in range(2):
            lengths = [len(loaded.tokenizer(text)["input_ids"]) for text in texts]
            a = torch.cat([part[1:] for part in keep.values(layer).split(lengths)]).double()
            magnitude = a.abs().numpy() * norms[layer]
            write = loaded.anatomy.ffn_writes[layer].weight.detach().double()
            write = write if write.shape[0] == 32 else write.T
            at = cett(a, write, one.thresholds_L[layer]).mean()
            above = cett(a, write, one.thresholds_L[layer] * 1.1 + 1e-3).mean()
            assert at <= one.level + 1e-4 and above > one.level - 0.02
            assert at > one.level - 0.05
            assert one.sparsity_L[layer] == pytest.approx((magnitude < one.thresholds_L[layer]).mean(), abs=2e-3)
    assert result[1].sparsity > result[0].sparsity > 0


def test_truncation_leaves_out_what_is_below_the_threshold(loaded: LoadedModel) -> None:
    clean, kept = Keep(), Keep()
    with streaming(loaded, "ffn", clean):
        run_texts(loaded, TEXTS["colours"])
    magnitude = clean.values(0).abs().numpy() * column_norms(loaded)[0]
    threshold = float(np.median(magnitude))
    with truncated(loaded, np.array([threshold, 0.0])), streaming(loaded, "ffn", kept):
        run_texts(loaded, TEXTS["colours"])
    expected = np.where(magnitude < threshold, 0, clean.values(0).numpy())
    assert (kept.values(0).numpy() != expected).sum() <= 1  # the median itself may round to either side


def test_cett_curve() -> None:
    loaded = tiny()
    texts = list(chain(*TEXTS.values()))
    result = cett_curve(loaded, texts, TEXTS, (0.05, 0.3, 0.6))
    with truncated(loaded, result.thresholds[1].thresholds_L):
        expected = sequence_nll(loaded, TEXTS["colours"])
    assert result.curve.after[1].nll["colours"].tolist() == expected.nll
    assert result.curve.levels == tuple(one.sparsity for one in result.thresholds)
    assert result.thresholds[2].level == 0.6
    assert 0 < result.knee(0.05).estimate <= result.curve.levels[-1]
    with pytest.raises(UsageError, match="levels of CETT"):
        cett_thresholds(loaded, texts, (0.3, 0.1))
    with pytest.raises(UsageError, match="thresholds"), truncated(loaded, np.ones(3)):
        pass
    with torch.no_grad():
        loaded.anatomy.ffn_writes[1].weight.zero_()
    with pytest.raises(NumericError, match="layer 1 writes nothing"):
        cett_thresholds(loaded, texts)


COUNT = 12


def noisy(per_token: float, generator: np.random.Generator) -> Losses:
    """Twelve texts of 95 tokens with noise of their own."""
    return Losses(
        nll={"code": 95 * (per_token + generator.normal(0, 0.02, COUNT))}, tokens={"code": np.full(COUNT, 95)}
    )


def drawn_sets(per_token: list[float], generator: np.random.Generator) -> AblationTable:
    """Sets "0", "1", ... with these losses, over a base of 3 nats per token."""
    after = {str(row): noisy(value, generator) for row, value in enumerate(per_token)}
    return AblationTable(before=noisy(3.0, generator), after=after, sizes=dict.fromkeys(after, 1))


def test_a_set_that_is_one_more_draw_of_the_null_is_not_above_it() -> None:
    """With the mean of drawn sets instead of one more of them, a set like all others would often lie above."""
    generator = np.random.default_rng(0)
    above = 0
    for _ in range(200):
        drawn = drawn_sets([4.0 + generator.normal(0, 0.3) for _ in range(9)], generator)
        above += drawn.own_against_one_more("0", "code", [str(row) for row in range(1, 9)]).lower > 0
    assert above <= 12  # 2.5 % to either side


def test_a_set_that_costs_more_is_above() -> None:
    generator = np.random.default_rng(0)
    drawn = drawn_sets([6.0, *(4.0 + generator.normal(0, 0.1, 8))], generator)
    difference = drawn.own_against_one_more("0", "code", [str(row) for row in range(1, 9)], level=0.99)
    assert difference.lower > 0 and abs(difference.estimate - 2) < 0.15 and difference.n == COUNT
    with pytest.raises(UsageError, match="two sets"):
        drawn.own_against_one_more("0", "code", ["1"])


class Shares:
    """Share of zeros among the activations that a layer writes, of the first token and of the others."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.others: list[float] = []

    def update(self, layer: int, x_ND: torch.Tensor) -> None:
        self.first.append(float((x_ND[0] == 0).float().mean()))
        self.others.append(float((x_ND[1:] == 0).float().mean()))


def test_neurons_left_out_by_lot_are_other_ones_at_each_token_but_the_first() -> None:
    loaded, shares = tiny(), Shares()
    text = ["one two three four five six seven eight nine ten"]
    with lot_ablated(loaded, 0.7, seed=0), streaming(loaded, "ffn", shares):
        run_texts(loaded, text)
        lost = sequence_nll(loaded, text).nll
    assert max(shares.first) == 0 and np.mean(shares.others) == pytest.approx(0.7, abs=0.05)
    with lot_ablated(loaded, 0.0, seed=0):
        assert sequence_nll(loaded, text).nll == sequence_nll(loaded, text).nll != lost
    with pytest.raises(UsageError, match="less than 1"), lot_ablated(loaded, 1.0, seed=0):
        pass
