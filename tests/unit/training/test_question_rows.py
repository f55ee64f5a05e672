"""Rows and batches of any processor, and scores that equal what the whole logits say."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from armillary.data.images.user_files import ImageQuestion
from armillary.errors import ModelError, UsageError
from armillary.models.image_text import ImageTextModel, tiny_image_text_model
from armillary.training.questions import (
    IGNORED,
    QuestionEncoder,
    QuestionRows,
    answer_scores,
    image_of,
    right_answers,
)


@pytest.fixture(scope="module")
def tiny() -> ImageTextModel:
    return tiny_image_text_model()


def asked(count: int = 4, choices: tuple[str, ...] | None = ("red", "very dark blue", "green")) -> list[ImageQuestion]:
    drawn = np.random.default_rng(0).integers(0, 256, (count, 20, 24, 3), dtype=np.uint8)
    return [
        ImageQuestion(
            image=drawn[place],
            question="Which colour is this?" + " Say." * (place % 3),
            answer="red" if choices is None else choices[place % len(choices)],
            choices=choices,
        )
        for place in range(count)
    ]


def test_only_answer_and_end_are_learned(tiny: ImageTextModel) -> None:
    encoder = QuestionEncoder(tiny.processor)
    one = asked(1)[0]
    row = encoder.row(one)
    prompt = encoder.prompt_row(one)["input_ids"].shape[1]
    assert row["labels"][0, :prompt].eq(IGNORED).all()
    assert row["labels"][0, prompt:].tolist() == [*encoder.answer_ids("red"), 2]
    assert torch.equal(row["labels"][0, prompt:], row["input_ids"][0, prompt:])
    assert row["attention_mask"].all()
    text = encoder.tokenizer.decode(row["input_ids"][0], skip_special_tokens=True)
    assert text == "\nWhich colour is this?\nAnswer: red"
    assert tiny.anatomy.image_mask(row["input_ids"]).sum() == 4


def test_a_batch_is_its_rows_with_filling_at_the_right(tiny: ImageTextModel) -> None:
    encoder = QuestionEncoder(tiny.processor)
    rows = [encoder.row(one) for one in asked(3)]
    batch = encoder.collate(rows)
    for place, row in enumerate(rows):
        length = row["input_ids"].shape[1]
        for name in ("input_ids", "labels", "attention_mask"):
            assert torch.equal(batch[name][place, :length], row[name][0])
        assert batch["labels"][place, length:].eq(IGNORED).all() and not batch["attention_mask"][place, length:].any()
        assert torch.equal(batch["pixel_values"][place], row["pixel_values"][0])
    with torch.no_grad():
        together = tiny.model(**batch).loss
        parts = [(tiny.model(**row).loss, int((row["labels"] != IGNORED).sum())) for row in rows]
    expected = sum(loss * count for loss, count in parts) / sum(count for _, count in parts)
    torch.testing.assert_close(together, expected)


def test_images_of_other_sizes_are_filled_with_zeros(tiny: ImageTextModel) -> None:
    encoder = QuestionEncoder(tiny.processor)
    ids = torch.ones(1, 3, dtype=torch.long)
    rows = [{"input_ids": ids, "pixel_values": torch.ones(1, tiles, 3, 2, 2)} for tiles in (1, 3)]
    pixels = encoder.collate(rows)["pixel_values"]
    assert pixels.shape == (2, 3, 3, 2, 2) and pixels[0, 0].eq(1).all() and not pixels[0, 1:].any()
    grids = [{"input_ids": ids, "image_grid_thw": torch.tensor([[1, side, side]])} for side in (2, 4)]
    assert encoder.collate(grids)["image_grid_thw"].tolist() == [[1, 2, 2], [1, 4, 4]]


@pytest.mark.parametrize("at_once", [1, 5, 64])
def test_scores_are_those_of_the_whole_logits(tiny: ImageTextModel, at_once: int) -> None:
    encoder, questions = QuestionEncoder(tiny.processor), asked()
    tiny.model.train()
    found = answer_scores(
        tiny.model, encoder, questions, [one.choices or () for one in questions], rows_at_once=at_once
    )
    assert tiny.model.training
    tiny.model.eval()
    rights = right_answers(tiny.model, encoder, questions, rows_at_once=at_once)
    for one, scores, right in zip(questions, found, rights, strict=True):
        means = []
        for choice, score in zip(one.choices or (), scores, strict=True):
            prompt, ids = encoder.prompt_row(one), encoder.answer_ids(choice)
            with torch.no_grad():
                logits = tiny.model(**encoder.answered(prompt, ids)).logits[0].double()
            start = prompt["input_ids"].shape[1] - 1
            logs = torch.log_softmax(logits, -1)[start : start + len(ids)]
            means.append(float(logs[torch.arange(len(ids)), ids].mean()))
            assert score.mean == pytest.approx(means[-1], abs=1e-4)
        best = (one.choices or ())[int(np.argmax(means))]
        assert right == float(best == one.answer)
    assert len({len(encoder.answer_ids(choice)) for choice in questions[0].choices or ()}) > 1


def test_a_free_answer_is_right_where_greedy_decoding_gives_it(tiny: ImageTextModel) -> None:
    encoder, one = QuestionEncoder(tiny.processor), asked(1, None)[0]
    prompt = encoder.prompt_row(one)
    with torch.no_grad():
        new = tiny.model.generate(**prompt, max_new_tokens=2, do_sample=False, eos_token_id=None)
    ids = new[0, prompt["input_ids"].shape[1] :].tolist()
    encoder.answer_ids = lambda answer: ids[:1]  # type: ignore[method-assign]
    tail = ids[1]
    assert right_answers(tiny.model, encoder, [one]) == [float(tail == encoder.end[0])]
    encoder.tokenizer = _Ending(encoder.tokenizer, tail)
    assert right_answers(tiny.model, encoder, [one]) == [1.0]
    encoder.answer_ids = lambda answer: [ids[0] + 1]  # type: ignore[method-assign]
    assert right_answers(tiny.model, encoder, [one]) == [0.0]


class _Ending:
    """A tokenizer with another end token."""

    def __init__(self, tokenizer: object, end: int) -> None:
        self._tokenizer, self.eos_token_id = tokenizer, end

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)


def test_the_image_decides(tiny: ImageTextModel) -> None:
    encoder = QuestionEncoder(tiny.processor)
    same = asked(1)[0]
    others = [
        ImageQuestion(image=one.image, question=same.question, answer=same.answer, choices=same.choices)
        for one in asked(3)
    ]
    scores = answer_scores(tiny.model, encoder, others, [("red",)] * 3)
    assert len({score[0].mean for score in scores}) == 3


def test_files_are_read_late_and_unreadable_ones_told(tmp_path: Path, tiny: ImageTextModel) -> None:
    Image.new("L", (9, 7), 200).save(tmp_path / "grey.png")
    good = ImageQuestion(image=tmp_path / "grey.png", question="What?", answer="red")
    assert image_of(good).mode == "RGB"
    (tmp_path / "bad.png").write_bytes((tmp_path / "grey.png").read_bytes()[:40])
    bad = ImageQuestion(image=tmp_path / "bad.png", question="What?", answer="red")
    rows = QuestionRows(QuestionEncoder(tiny.processor), [good, bad])
    assert len(rows) == 2 and set(rows[0]) >= {"input_ids", "labels", "pixel_values"}
    with pytest.raises(UsageError, match=r"bad\.png can't be read as an image"):
        rows[1]


def test_prompts_need_their_places(tiny: ImageTextModel) -> None:
    with pytest.raises(UsageError, match="chat template"):
        QuestionEncoder(tiny.processor, "chat")
    for prompt in (
        "{question} Answer:",
        "{image}{image}{question}",
        "<image>{image}{question}",
        "{image}{question}{choices}",
    ):
        with pytest.raises(UsageError, match=r"needs \{image\} and \{question\}, once each"):
            QuestionEncoder(tiny.processor, prompt)
    spaced = QuestionEncoder(tiny.processor, "{image}{question} ")
    assert spaced.answer_ids("red") != QuestionEncoder(tiny.processor).answer_ids("red")
    with pytest.raises(UsageError, match="makes nothing"):
        spaced.answer_ids("")


def test_a_chat_template_is_followed(tiny: ImageTextModel) -> None:
    processor = tiny_image_text_model().processor
    processor.chat_template = (
        "{% for m in messages %}User:{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
        "{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
        "{% if add_generation_prompt %}Bot: {% endif %}"
    )
    row = QuestionEncoder(processor, "chat").prompt_row(asked(1)[0])
    text = tiny.processor.tokenizer.decode(row["input_ids"][0], skip_special_tokens=True)
    assert text == "User:Which colour is this?Bot: "
    blind = tiny_image_text_model().processor
    blind.chat_template = "{% for m in messages %}Hello.{% endfor %}"
    with pytest.raises(UsageError, match="has no place for the image"):
        QuestionEncoder(blind, "chat").prompt_row(asked(1)[0])


# How a processor is told of an image.


class Stub:
    """Puts the image's token (7) in, in one of the ways that there are."""

    chat_template = None
    image_token: str | None = "<image>"

    def __init__(self, way: str, tiny: ImageTextModel) -> None:
        self.way, self.tokenizer = way, SimpleNamespace(convert_tokens_to_ids=lambda _: 7, added_tokens_decoder={})
        if way in ("before", "both"):
            self.boi_token = "<start>"

    def __call__(self, images: list[Any], text: list[str], return_tensors: str) -> dict[str, torch.Tensor]:
        spelt = "<start>" if self.way == "before" else "<image>"
        if self.way == "unasked":
            ids = [7] * 4 + [7] * text[0].count("<image>")
        elif self.way == "either":
            ids = [7] * 4
        elif text[0].count(spelt) != 1 or self.way == "never":
            raise ValueError("another number of images than of marks.")
        else:
            ids = [7] * 4
        return {"input_ids": torch.tensor([[*ids, 5]])}


@pytest.mark.parametrize(
    ("way", "mark"),
    [("own", "<image>"), ("before", "<start>"), ("both", "<image>"), ("either", "<image>"), ("unasked", "")],
)
def test_the_mark_is_the_one_that_the_processor_takes(way: str, mark: str, tiny: ImageTextModel) -> None:
    encoder = QuestionEncoder(Stub(way, tiny))  # type: ignore[arg-type]
    assert encoder._text("Which?") == f"{mark}\nWhich?\nAnswer:"


def test_a_processor_without_a_way_is_refused(tiny: ImageTextModel) -> None:
    with pytest.raises(ModelError, match=r"^Stub makes nothing of a grey image behind '<image>' \(another number"):
        QuestionEncoder(Stub("never", tiny))  # type: ignore[arg-type]
    silent = Stub("own", tiny)
    silent.image_token = None
    with pytest.raises(ModelError, match="does not say how a text names an image"):
        QuestionEncoder(silent)  # type: ignore[arg-type]


def test_blip_2_is_asked_and_tuned_through_its_own_processor(tiny: ImageTextModel) -> None:
    """Its image tokens come before any text, and before the start token."""
    tokenizer = copy.deepcopy(tiny.processor.tokenizer)  # type: ignore[attr-defined]
    images = BlipImageProcessorPil(size={"height": 16, "width": 16})
    processor = Blip2Processor(images, tokenizer, num_query_tokens=4)
    token = int(tokenizer.convert_tokens_to_ids("<image>"))
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 32, "ffn_dim": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32,
            "max_position_embeddings": 64}  # fmt: skip
    config = Blip2Config(
        vision_config={**vision, "image_size": 16, "patch_size": 8}, text_config=text, num_query_tokens=4,
        qformer_config={**vision, "vocab_size": 8, "encoder_hidden_size": 16}, image_token_index=token,
    )  # fmt: skip
    model = Blip2ForConditionalGeneration(config)
    encoder = QuestionEncoder(processor)
    questions = asked(4)
    batch = encoder.collate([encoder.row(question) for question in questions])
    assert (batch["input_ids"] == token).sum(1).tolist() == [4] * 4
    assert bool(torch.isfinite(model(**batch).loss))
    assert len(right_answers(model, encoder, questions)) == 4
