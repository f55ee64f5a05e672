"""Log-probabilities of answers after prompts with pictures, against full logits of single unpadded rows."""

from typing import Any

import pytest
import torch

from armillary.data.images.synthetic import IMAGE_SIZE, random_tower, synthetic_emoji
from armillary.data.images.user_files import ImageQuestion
from armillary.errors import NumericError, UsageError
from armillary.models import tiny
from armillary.models.image_text import assemble_image_text_model
from armillary.models.vision import stored_states
from armillary.scoring import answers as module
from armillary.scoring.answers import answer_log_probabilities, greedy_answers
from armillary.training.image_rows import ImageRows
from armillary.training.questions import QuestionEncoder, answer_scores

from ..training.image_parts import image_rows, log_probability, some_examples

_TEXTS = [["red", "a large red square"], ["yes"], ["small blue bar top", "no", "green"], ["stick", "box"]]


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
@pytest.mark.parametrize("at_once", [64, 2])
def test_scores_are_those_of_full_logits(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONTINUED_AT_ONCE", at_once)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 1000)
    model, rows = image_rows(kind)
    asked = some_examples(rows, ("name", "colour", "keyword", "keyword-choice"), each=2)[::2]
    prompts = rows.collate([rows.row(example, answered=False) for example in asked])
    assert not prompts["attention_mask"].all(), "prompts of different lengths"
    answers = [[rows.answer(text) for text in texts] for texts in _TEXTS]
    for example, given, scores in zip(asked, answers, answer_log_probabilities(model, prompts, answers), strict=True):
        expected = [log_probability(model, rows, example, answer) for answer in given]
        assert scores.total.tolist() == pytest.approx(expected, abs=1e-4)
        assert scores.tokens.tolist() == [len(answer) for answer in given]
        assert scores.mean.tolist() == pytest.approx(
            [e / len(a) for e, a in zip(expected, given, strict=True)], abs=1e-4
        )


def test_stored_states_score_as_the_images_do() -> None:
    model, rows = image_rows()
    _, stored = image_rows(stored=True)
    asked = some_examples(rows, ("colour",))
    answers = [[rows.answer("red"), rows.answer("blue")]] * len(asked)
    seen = answer_log_probabilities(model, rows.collate([rows.row(one, answered=False) for one in asked]), answers)
    with stored_states(model):
        kept = rows.collate([stored.row(one, answered=False) for one in asked]) | {
            "pixel_values": stored.collate([stored.row(one, answered=False) for one in asked])["pixel_values"]
        }
        again = answer_log_probabilities(model, kept, answers)
    for one, other in zip(seen, again, strict=True):
        assert one.total.tolist() == pytest.approx(other.total.tolist(), abs=0.02)  # states are kept in 16 bits
    assert abs(seen[0].total - seen[1].total).max() > 1e-3, "the picture matters"


def test_all_answers_of_one_token_share_the_mass() -> None:
    model, rows = image_rows()
    asked = some_examples(rows, ("group",), each=1)
    prompts = rows.collate([rows.row(asked[0], answered=False)])
    every = [[token] for token in range(model.config.text_config.vocab_size)]
    (scores,) = answer_log_probabilities(model, prompts, [every])
    assert float(torch.tensor(scores.total).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_rows_that_are_no_token_have_no_share() -> None:
    padded = tiny(vocabulary=len(tiny().tokenizer) + 200)
    model, processor = assemble_image_text_model(padded, image_size=IMAGE_SIZE, tower=random_tower(), vision_layers=2)
    rows = ImageRows.of(model, processor, synthetic_emoji())
    size = model.config.text_config.vocab_size
    assert rows.nameless == tuple(range(len(processor.tokenizer), size)) and len(rows.nameless) == 199
    prompts = rows.collate([rows.row(one, answered=False) for one in some_examples(rows, ("group",), each=1)])
    with torch.no_grad():
        model.get_output_embeddings().weight[-1] *= 50  # a row that training never held down
    every = [[token] for token in range(size)]
    (scores,) = answer_log_probabilities(model, prompts, [every], nameless=rows.nameless)
    assert {row for row in range(size) if scores.total[row] == -torch.inf} == {*rows.nameless}
    assert float(torch.tensor(scores.total).exp().sum()) == pytest.approx(1.0, abs=1e-5)
    (tokens,) = greedy_answers(model, prompts, max_new_tokens=4, end_id=-1, nameless=rows.nameless)
    assert {*tokens}.isdisjoint(rows.nameless)
    # Questions of a user's own model are scored in another way, by the same tokens.
    encoder = QuestionEncoder(processor)
    asked = ImageQuestion(image=rows.emoji.images[0, 0], question="What?", answer="red", choices=None)
    ((score,),) = answer_scores(model, encoder, [asked], [("red",)])
    row = encoder.answered(encoder.prompt_row(asked), encoder.answer_ids("red"))
    with torch.no_grad():
        logits = model(**{name: value for name, value in row.items() if name != "labels"}).logits[0].double()
    ids, start = encoder.answer_ids("red"), len(row["labels"][0]) - len(encoder.answer_ids("red")) - 2
    logs = logits[:, : len(processor.tokenizer)].log_softmax(-1)
    own = [float(logs[start + at, token]) for at, token in enumerate(ids)]
    assert score.mean == pytest.approx(sum(own) / len(own), abs=1e-4)


def test_greedy_is_what_generate_gives_for_a_row_alone() -> None:
    model, rows = image_rows()
    asked = some_examples(rows, ("name", "keyword-choice"), each=2)
    told = greedy_answers(
        model, rows.collate([rows.row(one, answered=False) for one in asked]), max_new_tokens=5, end_id=rows.end_id
    )
    for example, tokens in zip(asked, told, strict=True):
        batch = rows.collate([rows.row(example, answered=False)])
        given = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
        new = model.generate(**given, max_new_tokens=5, do_sample=False)[0, batch["input_ids"].shape[1] :].tolist()
        assert tokens == (new[: new.index(rows.end_id)] if rows.end_id in new else new)
    # A token that is told is the end where it is said to be.
    ended = greedy_answers(
        model, rows.collate([rows.row(asked[0], answered=False)]), max_new_tokens=5, end_id=told[0][1]
    )
    assert ended == [told[0][: told[0].index(told[0][1])]]


def test_a_text_model_can_be_asked_too() -> None:
    loaded = tiny()
    ids = torch.tensor([[5, 6, 7]])
    (scores,) = answer_log_probabilities(loaded.model, {"input_ids": ids}, [[[9], [9, 4]]])
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.tensor([[5, 6, 7, 9]])).logits[0].double().log_softmax(-1)
    expected = [float(logits[2, 9]), float(logits[2, 9] + logits[3, 4])]
    assert scores.total.tolist() == pytest.approx(expected, abs=1e-5)


def test_what_is_not_accepted() -> None:
    model: Any = tiny().model
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(UsageError, match="1 prompts came with answers to 2"):
        answer_log_probabilities(model, {"input_ids": ids}, [[[1]], [[2]]])
    with pytest.raises(UsageError, match="without tokens"):
        answer_log_probabilities(model, {"input_ids": ids}, [[[1], []]])
    with pytest.raises(UsageError, match="padded at the right"):
        answer_log_probabilities(model, {"input_ids": ids, "attention_mask": torch.tensor([[0, 1, 1]])}, [[[1]]])
    with pytest.raises(UsageError, match="max_new_tokens must be 1 or more"):
        greedy_answers(model, {"input_ids": ids}, max_new_tokens=0, end_id=2)
    with torch.no_grad():
        model.get_output_embeddings().weight[3] = torch.nan
    with pytest.raises(NumericError, match="NaN or infinite"):
        answer_log_probabilities(model, {"input_ids": ids}, [[[1]]])
