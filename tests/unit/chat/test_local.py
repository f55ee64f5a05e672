"""A model of one's own: greedy or drawn, one answer the same whatever else is asked for."""

from pathlib import Path

import pytest
import torch

from armillary.chat import ChatModel, ChatSettings, LocalChat, user
from armillary.chat.chat_model import unfenced
from armillary.chat.local import next_tokens
from armillary.errors import ModelError, UsageError
from armillary.models import LoadedModel, tiny

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}<assistant>"
ASKED = [user("one two three"), user("a longer request than the others, by some words", "be brief"), user("x")]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    loaded = tiny("llama")
    loaded.tokenizer.chat_template = TEMPLATE
    return loaded


def test_an_answer_does_not_depend_on_what_else_is_asked(model: LoadedModel) -> None:
    for settings in (ChatSettings(max_tokens=6), ChatSettings(max_tokens=6, temperature=1.0, top_p=0.9, seed=3)):
        together = LocalChat(model, batch_size=8).complete_all(ASKED, settings)
        alone = [LocalChat(model, batch_size=1).complete(messages, settings) for messages in ASKED]
        assert [answer.text for answer in together] == [answer.text for answer in alone]
        assert all(answer.completion_tokens and answer.completion_tokens <= 6 for answer in together)
    drawn = [LocalChat(model).complete(ASKED[0], ChatSettings(max_tokens=6, temperature=1.0, seed=s)).text
             for s in (3, 4)]  # fmt: skip
    assert drawn[0] != drawn[1], "another seed, another answer"
    assert isinstance(LocalChat(model), ChatModel)


def test_answers_are_kept_under_the_models_identity(model: LoadedModel, tmp_path: Path) -> None:
    chat = LocalChat(model, cache=tmp_path)
    first = chat.complete(ASKED[0], ChatSettings(max_tokens=3))
    again = LocalChat(model, cache=tmp_path)
    kept = again.complete(ASKED[0], ChatSettings(max_tokens=3))
    assert kept.cached and kept.text == first.text and again.tokens.cached == 1
    assert chat.tokens.prompt == first.prompt_tokens


def test_only_the_likeliest_tokens_that_have_top_p_are_drawn() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    uniforms = torch.linspace(0, 0.999, 400, dtype=torch.float64)
    for top_p, wanted in ((0.4, {0}), (0.5, {0}), (0.6, {0, 1}), (0.81, {0, 1, 2}), (1.0, {0, 1, 2, 3})):
        logits = probabilities.log().repeat(400, 1)
        drawn = next_tokens(logits, uniforms, ChatSettings(temperature=1.0, top_p=top_p))
        assert {*drawn.tolist()} == wanted, top_p
    halves = next_tokens(probabilities.log().repeat(400, 1), uniforms, ChatSettings(temperature=1.0, top_p=0.6))
    assert (halves == 0).float().mean() == pytest.approx(0.625, abs=0.01), "renormalised: 0.5 of 0.8"


def test_what_can_not_be_asked_is_refused(model: LoadedModel) -> None:
    with pytest.raises(ModelError, match="chat template"):
        LocalChat(tiny("llama")).complete(ASKED[0])
    with pytest.raises(UsageError, match="batch_size"):
        LocalChat(model, batch_size=0)
    with pytest.raises(UsageError, match="temperature"):
        ChatSettings(temperature=-1)


@pytest.mark.parametrize(
    ("text", "bare"), [("```json\n{}\n```", "{}"), ("{}", "{}"), ("a ```b``` c", "a ```b``` c"), ("```\n```", "")]
)
def test_fences_around_an_answer(text: str, bare: str) -> None:
    assert unfenced(text).strip() == bare
