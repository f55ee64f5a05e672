"""A training is the same for the same start and rows, killed or not; writing is what whole rows foretell."""

from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.ordering.multiplication.world import MultiplicationWorld
from armillary.methods.ordering.training.config import DecoderShape, LearningConfig
from armillary.methods.ordering.training.decoding import complete
from armillary.methods.ordering.training.evaluation import answers, best_of, judged, part_nats
from armillary.methods.ordering.training.learning import Reading, learn
from armillary.methods.ordering.training.rows import END, WorldTokens, world_rows
from armillary.methods.ordering.training.start import restarted, small_decoder, world_tokenizer
from armillary.models import LoadedModel

WORLD = MultiplicationWorld(1)
PROBLEMS = WORLD.problems(12, seed=0)
KNOWN = WorldTokens.of(WORLD)
ROWS = world_rows(WORLD, PROBLEMS, "seq")
SHAPE = DecoderShape(width=16, layers=1, heads=2, positions=64)
CONFIG = LearningConfig(steps=6, batch_size=4, learning_rate=1e-2, save_steps=2)


def decoder(seed: int = 0) -> LoadedModel:
    return small_decoder(world_tokenizer(KNOWN), SHAPE, seed=seed)


def weights(model: LoadedModel) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.model.parameters()])


class Killed(Exception):
    pass


def test_a_killed_training_ends_with_the_same_weights_and_readings(tmp_path: Path) -> None:
    def reading(model: LoadedModel, dies_at: int | None = None) -> tuple[list[int], Reading]:
        calls: list[int] = []

        def read() -> Reading:
            calls.append(1)
            if len(calls) == dies_at:
                raise Killed
            return {"sum": float(weights(model).double().sum())}

        learned = learn(model, ROWS, CONFIG, checkpoints=tmp_path, read_at=(1, 3, 6), read=read)
        return calls, {str(step): values["sum"] for step, values in learned.readings}

    whole = decoder()
    without = learn(whole, ROWS, CONFIG, read_at=(1, 3, 6), read=lambda: {"sum": float(weights(whole).double().sum())})
    with pytest.raises(Killed):
        reading(decoder(), dies_at=2)
    resumed = decoder()
    calls, readings = reading(resumed)
    assert len(calls) == 2, "the first reading stands in the checkpoint"
    assert torch.equal(weights(resumed), weights(whole))
    assert readings == {str(step): values["sum"] for step, values in without.readings}


def test_the_same_seed_gives_the_same_start_and_training_changes_it() -> None:
    one, other = decoder(), decoder()
    assert one.fingerprint == other.fingerprint != decoder(1).fingerprint
    first, second = learn(one, ROWS, CONFIG), learn(other, ROWS, CONFIG)
    assert first == second and first.start == decoder().fingerprint
    assert torch.equal(weights(one), weights(other)) and not torch.equal(weights(one), weights(decoder()))
    again = restarted(decoder())
    model = again(0)
    learn(model, ROWS, CONFIG)
    assert again(5).fingerprint == decoder().fingerprint


def test_greedy_writing_is_what_whole_rows_foretell() -> None:
    model = decoder()
    learn(model, ROWS, LearningConfig(steps=30, batch_size=6, learning_rate=1e-2))
    prompts = [KNOWN.ids(problem.prompt) for problem in PROBLEMS]
    prompts[3] = prompts[3][:2]  # another length
    written = complete(model, prompts, most=9, end=END)
    for prompt, ids in zip(prompts, written, strict=True):
        with torch.no_grad():
            logits = model.model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == ids
        assert END not in ids[:-1] and (ids[-1] == END or len(ids) == 9)
    drawn = complete(model, prompts, most=9, end=END, temperature=0.8, seed=1)
    assert drawn == complete(model, prompts, most=9, end=END, temperature=0.8, seed=1) != written
    assert len(complete(model, [prompts[0]], most=500, end=99)[0]) == SHAPE.positions - len(prompts[0])


def test_what_is_solved_is_what_the_judge_says() -> None:
    model = decoder()
    oracle = [list(WORLD.write(problem, "seq").completion) for problem in PROBLEMS]
    assert all(judgement.strict for judgement in judged(WORLD, PROBLEMS, "seq", [*oracle]))
    constant = judged(WORLD, PROBLEMS, "seq", [["+"]] * len(PROBLEMS))
    assert not any(judgement.lenient for judgement in constant)
    assert judged(WORLD, PROBLEMS[:1], "seq", [None])[0].error == "no end"
    assert sum(judgement.lenient for judgement in judged(WORLD, PROBLEMS, "seq", answers(
        model, WORLD, PROBLEMS, most=9))) == 0, "random weights solve nothing"  # fmt: skip
    learn(model, ROWS, LearningConfig(steps=70, batch_size=12, learning_rate=2e-2, warmup_steps=5))
    solved = [judgement.lenient for judgement in judged(WORLD, PROBLEMS, "seq", answers(
        model, WORLD, PROBLEMS, most=12))]  # fmt: skip
    assert np.mean(solved) > 0.4, "what was learned by heart"
    counts = best_of(model, WORLD, PROBLEMS, "seq", samples=3, temperature=0.1, most=12, seed=0)
    assert [count == 3 for count in counts].count(True) >= 0.8 * sum(solved) and max(counts) <= 3


def test_surprise_by_part_sums_to_that_of_the_completion() -> None:
    model = decoder()
    given = part_nats(model, ROWS)
    for index, row in enumerate(ROWS):
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            logits = model.model(ids).logits[0, row.given - 1 : -1]
        nats = -logits.log_softmax(-1).gather(1, ids[0, row.given :, None]).double().sum()
        assert given.nats_RK[index].sum() == pytest.approx(float(nats), rel=1e-5)
        assert given.tokens_RK[index].sum() == len(row.ids) - row.given
    assert given.names[0] == "end" and (given.tokens_RK[:, 0] == 1).all()


def test_settings_out_of_range_and_a_training_that_diverges_are_refused() -> None:
    with pytest.raises(UsageError, match="even multiple"):
        DecoderShape(width=20, heads=4)
    with pytest.raises(UsageError, match="steps must be 1"):
        LearningConfig(steps=0)
    with pytest.raises(NumericError, match="lower learning_rate"):
        learn(decoder(), ROWS, LearningConfig(steps=3, batch_size=4, learning_rate=1e30, warmup_steps=0))
