"""Vectors in prompts: their place, the loss on targets, labels, generation and the shared prefix."""

import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.vector_icl import training as losses_module
from armillary.methods.vector_icl.config import SlotTemplate, TrainingConfig
from armillary.methods.vector_icl.decoding import (
    SharedPrefix,
    continue_queries,
    distinct_labels,
    label_log_probabilities,
)
from armillary.methods.vector_icl.embedding import SLOT, embed_tokens, embed_with_slots, run_embeds, token_statistics
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import (
    balanced_order,
    continuations,
    pretrain_projector,
    together,
    tune_on_episodes,
    tune_projector,
)
from armillary.methods.vector_icl.prompts import Layout, Row, check_room, joined, text_ids
from armillary.methods.vector_icl.training import row_losses, token_losses
from armillary.models.batches import pad
from armillary.models.loaded import LoadedModel
from armillary.models.tiny_models import tiny

KINDS = ["llama", "gemma3", "gemma2", "qwen3", "gpt2"]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny("llama")


def ids_of(loaded: LoadedModel, length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, loaded.anatomy.vocabulary_size, (length,), generator=generator).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_that_is_a_tokens_embedding_is_that_token(kind: str) -> None:
    model = tiny(kind)
    rows = [ids_of(model, 9), ids_of(model, 6, 1)]
    slotted = [[SLOT if place == 2 else token for place, token in enumerate(row)] for row in rows]
    vectors = embed_tokens(model, torch.tensor([row[2] for row in rows]))
    with torch.inference_mode():
        for row in rows:
            [single] = [model.model(input_ids=torch.tensor([row])).logits]
            for side in ("left", "right"):
                ids, mask = pad(slotted, side=side)
                hidden = run_embeds(model, embed_with_slots(model, ids, vectors), mask)
                found = model.anatomy.logits(hidden)[rows.index(row)][mask[rows.index(row)].bool()]
                assert torch.allclose(found, single[0], atol=1e-5)
        packed = [token for row in rows for token in row]
        gaps = torch.tensor([[SLOT if place in (2, 11) else token for place, token in enumerate(packed)]])
        found = model.anatomy.logits(run_embeds(model, embed_with_slots(model, gaps, vectors)))
        assert torch.allclose(found, model.model(input_ids=torch.tensor([packed])).logits, atol=1e-5)


def test_layout_counts_demonstrations_and_separators(loaded: LoadedModel) -> None:
    layout = Layout.of(loaded, SlotTemplate(("A=", "B=", ", is ")))
    told = [text_ids(loaded, "7"), text_ids(loaded, "12")]
    shown, asked = layout.demonstrations([4, 2], told), layout.question(3)
    assert shown.vectors == (8, 9, 4, 5) and asked.vectors == (6, 7)
    assert shown.tokens[0] == loaded.tokenizer.bos_token_id
    assert shown.tokens.count(layout.separator[0]) == 2 and shown.tokens[-1:] == layout.separator
    training_row = layout.training_row(1, told[1])
    assert sum(training_row.learned) == len(told[1]) + 1 and not any(layout.demonstrations([0], told[:1]).learned)


def test_loss_is_on_targets_only(loaded: LoadedModel) -> None:
    slots = torch.randn(4, 32)
    layout = Layout.of(loaded, SlotTemplate())
    row = layout.training_row(2, (5, 6))
    losses, owners = token_losses(loaded, [row, row], lambda chosen: slots[list(chosen)])
    assert len(losses) == 2 * sum(row.learned) and owners.tolist() == [0] * 3 + [1] * 3
    ids = torch.tensor([row.tokens])
    logits = loaded.anatomy.logits(run_embeds(loaded, embed_with_slots(loaded, ids, slots[2:3])))[0]
    wanted = -logits.log_softmax(-1)[torch.arange(len(row) - 4, len(row) - 1), ids[0, -3:]]
    assert losses[:3].tolist() == pytest.approx(wanted.tolist(), rel=1e-4)


def test_other_labels_do_not_matter_and_target_labels_do(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token that stands behind each place, as the head is told it, changed where nothing is learned."""
    slots, layout = torch.randn(4, 32), Layout.of(loaded, SlotTemplate())
    row = layout.training_row(1, (5, 6, 7))
    told: list[torch.Tensor] = []
    plain = losses_module._HeadLosses.apply

    def noted(hidden_ND: torch.Tensor, targets_N: torch.Tensor, model: LoadedModel) -> torch.Tensor:
        told.append(targets_N)
        losses: torch.Tensor = plain(hidden_ND, targets_N, model)  # type: ignore[no-untyped-call]
        return losses

    monkeypatch.setattr(losses_module._HeadLosses, "apply", noted)
    token_losses(loaded, [row], lambda chosen: slots[list(chosen)])
    learned = [token for token, flag in zip(row.tokens, row.learned, strict=True) if flag]
    assert told[0].tolist() == learned and len(learned) == 4  # the targets and their separator, and no other label


def test_isolated_examples_are_trained_on_as_separate_runs(loaded: LoadedModel) -> None:
    """By the settings: the first loss is the mean over all learned tokens of what each example costs alone."""
    table, targets = torch.randn(6, 5), [" one", " seven two", " red", " river", " green dog", " music"]
    first = {}
    for attend in ("isolated", "packed"):
        projector = Projector(5, 32, seed=3)
        settings = TrainingConfig(steps=1, batch_size=6, attend=attend)  # type: ignore[arg-type]
        first[attend] = tune_projector(loaded, projector, table, targets, SlotTemplate(), settings).losses[0]
    fresh, layout = Projector(5, 32, seed=3), Layout.of(loaded, SlotTemplate())
    told = [text_ids(loaded, target) for target in targets]
    training_rows = [joined([layout.start(), layout.training_row(index, told[index])]) for index in range(6)]
    alone = [token_losses(loaded, [row], lambda chosen: fresh(table[list(chosen)]))[0] for row in training_rows]
    assert first["isolated"] == pytest.approx(float(torch.cat(alone).detach().mean()), rel=1e-4)
    assert abs(first["packed"] - first["isolated"]) > 0.01


def test_isolated_rows_are_alone_and_packed_ones_are_not(loaded: LoadedModel) -> None:
    slots = torch.randn(4, 32)
    layout = Layout.of(loaded, SlotTemplate())
    training_rows = [layout.training_row(index, tuple(ids_of(loaded, 2 + index, index))) for index in range(3)]

    def of(rows: list[Row]) -> list[float]:
        return row_losses(loaded, rows, lambda chosen: slots[list(chosen)]).nll.tolist()

    alone = [of([row])[0] for row in training_rows]
    assert of(training_rows) == pytest.approx(alone, rel=1e-4)
    joint = Row(*(sum((getattr(row, name) for row in training_rows), ()) for name in ("tokens", "vectors", "learned")))
    assert abs(of([joint])[0] - sum(alone)) > 0.01


def prefix_and_queries(model: LoadedModel) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 7, 32, generator=generator), torch.randn(3, 4, 32, generator=generator)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_labels_are_scored_with_all_their_tokens(kind: str) -> None:
    model = tiny(kind)
    shown, queries = prefix_and_queries(model)
    labels = [(5,), (5, 9), (7, 8, 9), (7, 8, 4)]
    prefix = SharedPrefix(model, shown)
    for _ in range(2):  # the cache is cut back: the second time gives the same
        found = label_log_probabilities(model, prefix.read(queries), labels)
        for row in range(3):
            for place, label in enumerate(labels):
                tail = embed_tokens(model, torch.tensor([label]))
                whole = torch.cat([shown, queries[row : row + 1], tail], dim=1)
                logp = model.anatomy.logits(run_embeds(model, whole))[0].log_softmax(-1)
                wanted = sum(float(logp[10 + step, token].detach()) for step, token in enumerate(label))
                assert float(found[row, place]) == pytest.approx(wanted, abs=1e-4)
    alone = label_log_probabilities(model, prefix.read(queries[1:2]), labels)
    assert torch.allclose(alone[0], found[1], atol=1e-4)


def test_a_constant_on_all_logits_changes_no_score(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, queries = prefix_and_queries(loaded)
    asked, labels = SharedPrefix(loaded, shown).read(queries), [(5,), (5, 9), (7, 8, 9)]
    before = label_log_probabilities(loaded, asked, labels)
    plain = type(loaded.anatomy).logits
    monkeypatch.setattr(type(loaded.anatomy), "logits", lambda self, hidden: plain(self, hidden) + 3.0)
    assert torch.allclose(label_log_probabilities(loaded, asked, labels), before, atol=1e-5)


def test_labels_that_begin_another_get_the_separator() -> None:
    assert distinct_labels([(1,), (1, 2)], (9,)) == [(1, 9), (1, 2, 9)]
    assert distinct_labels([(1,), (2,)], (9,)) == [(1,), (2,)]


def test_continuations_are_those_of_generate(loaded: LoadedModel) -> None:
    shown, queries = prefix_and_queries(loaded)
    prefix = SharedPrefix(loaded, shown)
    found = continue_queries(loaded, prefix.read(queries), max_new_tokens=6, stop_ids=[2])
    whole = torch.cat([shown.expand(3, -1, -1), queries], dim=1)
    mask = torch.ones(whole.shape[:2], dtype=torch.long)
    told = loaded.model.generate(inputs_embeds=whole, attention_mask=mask, max_new_tokens=6, do_sample=False)
    assert found == [[token for token in row if token not in (0, 2)] for row in told.tolist()]
    kept = continue_queries(loaded, prefix.read(queries), max_new_tokens=6, stop_ids=[2], allowed=[11, 12])
    assert all(row and set(row) <= {11, 12} for row in kept)
    draws = [
        continue_queries(
            loaded, prefix.read(queries), max_new_tokens=4, stop_ids=[], temperature=1.0, generators=[g] * len(queries)
        )
        for g in (torch.Generator().manual_seed(1), torch.Generator().manual_seed(1))
    ]
    assert draws[0] == draws[1]


@pytest.mark.parametrize("attend", ["packed", "isolated"])
def test_training_changes_the_projector_alone_and_lowers_the_loss(loaded: LoadedModel, attend: str) -> None:
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    projector = Projector(3, 32)
    config = TrainingConfig(steps=8, batch_size=4, learning_rate=0.1, warmup=0.0, attend=attend)  # type: ignore[arg-type]
    vectors, targets = torch.eye(3)[[0, 1, 2, 0]], [" red", " dog", " cat", " red"]
    curve = tune_projector(loaded, projector, vectors, targets, SlotTemplate(), config)
    assert curve.steps == 8 and curve.losses[-1] < curve.losses[0] - 0.5
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in loaded.model.parameters())


def test_split_batches_give_the_same_step(loaded: LoadedModel) -> None:
    vectors, texts = torch.randn(6, 3), [" red", " a dog", " cat", " red river", " x", " moon"]
    weights = []
    for budget in (4096, 16):
        projector = Projector(3, 32)
        config = TrainingConfig(steps=2, batch_size=6, pack=(1, 2), tokens_per_batch=budget)
        pretrain_projector(loaded, projector, vectors, texts, config)
        weights.append(projector.into.weight.detach())
    assert torch.allclose(*weights, atol=1e-5)
    assert not torch.allclose(weights[0], Projector(3, 32).into.weight, atol=1e-4)


def test_episodes_need_words_and_run(loaded: LoadedModel) -> None:
    vectors, classes = torch.eye(3)[[0, 1, 2, 0, 1, 2]], [0, 1, 2, 0, 1, 2]
    config = TrainingConfig(steps=2, batch_size=6)
    words = [" red", " dog", " moon"]
    curve = tune_on_episodes(loaded, Projector(3, 32), vectors, classes, words, SlotTemplate(), config, ways=2)
    assert curve.steps == 2
    with pytest.raises(UsageError, match="there are 3 and 2"):
        tune_on_episodes(loaded, Projector(3, 32), vectors, classes, words[:2], SlotTemplate(), config)


def test_balanced_order_shows_each_class_equally_often() -> None:
    classes = [0, 0, 0, 0, 1]
    order = balanced_order(classes, torch.Generator().manual_seed(0))
    assert [sorted(classes[i] for i in order[start : start + 2]) for start in range(0, 8, 2)] == [[0, 1]] * 4
    assert set(order) == {0, 1, 2, 3, 4}


def test_continuations_never_split_off_nothing(loaded: LoadedModel) -> None:
    texts = ["One is red. Two is a dog. Three!", "a single sentence without an end", "short"]
    for seed in range(5):
        parts = continuations(loaded, texts, seed=seed)
        assert len(parts.heads) == 2 and all(part.strip() for part in parts.heads + parts.rests)
        assert f"{parts.heads[0]} {parts.rests[0]}" == texts[0]
        assert parts.heads[1] + parts.rests[1] == texts[1]
    with pytest.raises(UsageError, match="none of the 1 texts"):
        continuations(loaded, ["short"])


def test_token_statistics_are_those_of_the_module() -> None:
    model = tiny("gemma3")
    rows = embed_tokens(model, torch.arange(model.anatomy.embedding.num_embeddings)).detach().double()
    found = token_statistics(model)
    assert torch.allclose(found.mean_D, rows.mean(0))
    assert found.norm == pytest.approx(float((rows - rows.mean(0)).square().sum(1).mean().sqrt()))


def test_a_long_prompt_is_refused_with_the_shots_that_fit(loaded: LoadedModel) -> None:
    with pytest.raises(UsageError, match="needs 600 tokens and tiny-llama has 512 positions; at most 3 shots fit"):
        check_room(loaded, 600, fits=3)


def test_classes_of_a_sequence_come_from_one_data_set() -> None:
    set_of = {0: 0, 1: 0, 2: 1, 3: 1, 4: 1}
    assert together([2, 0, 4, 1, 3], {0, 1, 3, 4}, set_of) == [0, 1]
    assert together([2, 0, 4, 1, 3], {0, 2, 3, 4}, set_of) == [2, 4, 3]
    assert together([1, 0], {0, 1}, dict.fromkeys((0, 1), 0)) == [1, 0]
