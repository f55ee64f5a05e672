"""Tiny image-text models behave like large ones where tests look."""

import pytest
import torch

from armillary.errors import UsageError
from armillary.models.tiny_vision_models import VISION_KINDS, TinyVision, tiny_vision


@pytest.fixture(params=VISION_KINDS)
def made(request: pytest.FixtureRequest) -> TinyVision:
    return tiny_vision(request.param)


def test_it_is_small_reproducible_and_leaves_the_generator_alone(made: TinyVision) -> None:
    state = torch.random.get_rng_state()
    again, other = tiny_vision(made.kind), tiny_vision(made.kind, seed=1)
    one, two, three = made.batch(2), again.batch(2), made.batch(2, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = [(p, q) for p, q in zip(made.model.parameters(), again.model.parameters(), strict=True)]
    assert all(torch.equal(p, q) for p, q in pairs)
    assert not torch.equal(next(made.model.parameters()), next(other.model.parameters()))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["pixel_values"], three["pixel_values"])
    assert sum(p.numel() for p in made.model.parameters()) < 80_000
    assert not made.model.training


def test_a_batch_is_an_image_a_prompt_and_an_answer(made: TinyVision) -> None:
    inputs = made.batch(3, text_tokens=7)
    ids, labels = inputs["input_ids"], inputs["labels"]
    assert made.anatomy.image_mask(ids).sum(dim=1).tolist() == [made.image_tokens] * 3
    assert not made.anatomy.image_mask(ids)[:, -7:].any()
    assert torch.equal(labels[:, -4:], ids[:, -4:]) and (labels[:, :-4] == -100).all()
    assert (ids[0] != ids[1]).any() and torch.equal(ids[0, :-7], ids[1, :-7])
    assert inputs["attention_mask"].all()


def test_loss_gradients_and_generation_work(made: TinyVision) -> None:
    inputs = made.batch(2)
    out = made.model(**inputs)
    assert out.logits.std() > 0.5
    out.loss.backward()
    reached = {made.anatomy.component(name) for name, p in made.model.named_parameters() if p.grad is not None}
    assert reached == {"vision_tower", "connector", "language_model"}
    del inputs["labels"]
    length = inputs["input_ids"].shape[1]
    assert made.model.generate(**inputs, max_new_tokens=2, do_sample=False).shape == (2, length + 2)


def test_the_answer_depends_on_the_image(made: TinyVision) -> None:
    inputs = made.batch(2)
    with torch.no_grad():
        seen = made.model(**inputs).logits[:, -1]
        inputs["pixel_values"] = -inputs["pixel_values"]
        other = made.model(**inputs).logits[:, -1]
    assert (seen - other).abs().amax(dim=-1).min() > 0.3


def test_rows_may_be_text_only(made: TinyVision) -> None:
    inputs = made.batch(2, text_tokens=5, images=False)
    assert "pixel_values" not in inputs and inputs["input_ids"].shape == (2, 5)
    assert not made.anatomy.image_mask(inputs["input_ids"]).any()
    assert torch.isfinite(made.model(**inputs).loss)


def test_rows_do_not_see_each_other(made: TinyVision) -> None:
    two, one = made.batch(2), made.batch(2)
    patches = one["pixel_values"].shape[0] // 2
    one = {name: tensor[: patches if name == "pixel_values" else 1] for name, tensor in one.items()}
    with torch.no_grad():
        torch.testing.assert_close(made.model(**two).logits[:1], made.model(**one).logits)


def test_the_shape_can_be_chosen() -> None:
    made = tiny_vision("qwen2_vl", hidden=48, layers=3, heads=3, intermediate=40, vocabulary=64, vision_layers=1)
    assert (made.anatomy.hidden_size, made.anatomy.num_layers, made.anatomy.image_token_id) == (48, 3, 63)
    assert torch.isfinite(made.model(**made.batch(1)).loss)


def test_what_is_not_accepted_is_said() -> None:
    with pytest.raises(UsageError, match="'clip'; the kinds are llava, idefics3, smolvlm, qwen2_vl, gemma3"):
        tiny_vision("clip")
    with pytest.raises(UsageError, match="vocabulary of 9 is too small"):
        tiny_vision(vocabulary=9)
    with pytest.raises(UsageError, match="not 0 and 6"):
        tiny_vision().batch(0)
