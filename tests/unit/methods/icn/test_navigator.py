"""Navigation against an answer known in closed form, and the ways in which it must not matter how it is computed."""

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.icn.navigator import Navigator, icn_generate
from armillary.methods.icn.result import Exploration, score
from armillary.methods.icn.templates import NUMBERED_LIST, WAYS, ListTemplate, opened_prompt
from armillary.models import KINDS, LoadedModel, tiny
from armillary.records.plain import plain

spec = importlib.util.spec_from_file_location("toy", Path(__file__).parent / "toy.py")
assert spec is not None and spec.loader is not None
toy_module: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy_module)

QUESTIONS = ["Please show me some cities.", "red", "Please show me some countries of Europe and Asia."]
SMALL: dict[str, Any] = {"rounds": 3, "per_round": 2, "max_new_tokens": 5}


@pytest.fixture(scope="module", params=KINDS)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def found(one: Exploration) -> list[tuple[Any, ...]]:
    return [(f.text, f.tokens, f.rank, f.round, f.complete, f.duplicate_of) for f in one.answers]


def test_navigation_meets_every_cluster_and_the_static_ranking_one() -> None:
    loaded, clusters = toy_module.toy()
    count = len(clusters)
    gold = {token: cluster for cluster, tokens in enumerate(clusters) for token in tokens}
    navigated = Navigator(loaded, rounds=count, per_round=1).explore("Please show me some words.")
    assert [answer.token for answer in navigated.answers] == [tokens[0] for tokens in clusters]
    assert all(answer.complete for answer in navigated.answers)
    static = Navigator(loaded, rounds=count, per_round=1, navigate=False).explore("Please show me some words.")
    assert [answer.token for answer in static.answers] == clusters[0][:count]
    strings = {loaded.tokenizer.decode([token]).strip(): cluster for token, cluster in gold.items()}
    assert score(navigated.texts, strings.get).distinct_correct == count
    assert score(static.texts, strings.get).distinct_correct == 1
    assert score(static.texts, strings.get).precision == 1.0


def test_without_an_effect_of_the_list_navigation_is_the_static_ranking() -> None:
    loaded, _ = toy_module.toy(alpha=0.0)
    static = Navigator(loaded, rounds=4, per_round=3, navigate=False).explore("red")
    navigated = Navigator(loaded, rounds=4, per_round=3).explore("red")
    assert [f.token for f in navigated.answers] == [f.token for f in static.answers]


def test_a_model_with_a_chat_template_is_asked_through_it() -> None:
    loaded = tiny()
    loaded.tokenizer.chat_template = "<bos>{% for m in messages %}User: {{ m['content'] }}{% endfor %} Bot: "
    asked = 'User: Please show me some cities. Bot: 1. "'
    assert opened_prompt(loaded, NUMBERED_LIST, QUESTIONS[0]) == f"<bos>{asked}"
    through = Navigator(loaded, **SMALL).explore(QUESTIONS[0])
    ids = [1, *loaded.tokenizer.encode(asked)]
    assert found(through) == found(Navigator(loaded, **SMALL).continued_ids([ids])[0])
    official = Navigator(loaded, **SMALL, chat_template=False).explore(QUESTIONS[0])
    assert found(official) == found(Navigator(tiny(), **SMALL).explore(QUESTIONS[0])) != found(through)
    # A template that does not say what the user asks is plain text for every model.
    own = ListTemplate(before="{instruction}:", opening="-", closing="\n", stop="\n")
    for template in (WAYS, own):
        assert opened_prompt(loaded, template, "red") == template.base("red")
    loaded.tokenizer.chat_template = "{{ raise_exception('a system turn comes first') }}"
    with pytest.raises(ModelError, match=r"the chat template of .* fails .*a system turn comes first"):
        Navigator(loaded, **SMALL).explore("red")


def test_one_round_is_the_static_ranking(loaded: LoadedModel) -> None:
    once = Navigator(loaded, rounds=1, per_round=6, max_new_tokens=5).explore(QUESTIONS)
    static = Navigator(loaded, rounds=3, per_round=2, max_new_tokens=5, navigate=False).explore(QUESTIONS)
    for one, other in zip(once, static, strict=True):
        assert [(f.text, f.tokens, f.rank) for f in one.answers] == [(f.text, f.tokens, f.rank) for f in other.answers]


def test_a_batch_equals_single_instructions(loaded: LoadedModel) -> None:
    together = Navigator(loaded, **SMALL).explore(QUESTIONS)
    for question, one in zip(QUESTIONS, together, strict=True):
        assert found(Navigator(loaded, **SMALL).explore(question)) == found(one)


def reference(loaded: LoadedModel, question: str, rounds: int, per_round: int, length: int) -> Iterator[list[int]]:
    """The same computed without any cache, a prompt at a time."""
    tokenizer, base = loaded.tokenizer, NUMBERED_LIST.base(question)
    base_ids: list[int] = tokenizer(base)["input_ids"]
    explored: set[str] = set()
    answers: list[str] = []

    def logits(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return loaded.model(torch.tensor([ids])).logits[0, -1]

    for _ in range(rounds):
        listed = NUMBERED_LIST.listed("", answers)
        ranked = (
            logits(base_ids + tokenizer.encode(listed, add_special_tokens=False)).argsort(descending=True).tolist()
        )
        new = []
        for token in ranked:
            text = tokenizer.decode([token])
            plain = token > 2 and text.strip() and "\ufffd" not in text and "\n" not in text and '"' not in text
            if plain and text not in explored:
                explored.add(text)
                new.append(token)
            if len(new) == per_round:
                break
        for token in new:
            answer = [token]
            while len(answer) < length and '"' not in tokenizer.decode([answer[-1]]) and answer[-1] != 2:
                answer.append(int(logits(base_ids + answer).argmax()))
            answers.append(tokenizer.decode(answer, skip_special_tokens=True).split('"')[0].strip())
            yield answer


def test_equals_the_procedure_without_caches(loaded: LoadedModel) -> None:
    for question in QUESTIONS[:2]:
        ours = Navigator(loaded, **SMALL).explore(question)
        assert [list(f.tokens) for f in ours.answers] == list(reference(loaded, question, 3, 2, 5))


def test_kinds_of_settings(loaded: LoadedModel) -> None:
    base = Navigator(loaded, **SMALL).explore(QUESTIONS[0])
    assert len({answer.token_text for answer in base.answers}) == len(base.answers) == 6
    nothing_kept = Navigator(loaded, **SMALL, keep=lambda _: False).explore(QUESTIONS[0])
    static = Navigator(loaded, **SMALL, navigate=False).explore(QUESTIONS[0])
    assert [f.token for f in nothing_kept.answers] == [f.token for f in static.answers]
    few = Navigator(loaded, rounds=3, per_round=2, pool=4, max_new_tokens=3, navigate=False).explore(QUESTIONS[0])
    assert len(few.answers) <= 4 and all(answer.rank <= 4 for answer in few.answers)
    folded = Navigator(loaded, **SMALL, explored_by="normalised").explore(QUESTIONS[0])
    keys = [answer.token_text.strip().casefold() for answer in folded.answers]
    assert len(set(keys)) == len(keys)
    onward = Navigator(loaded, **SMALL, continue_from="navigated").explore(QUESTIONS[0])
    assert found(onward)[:2] == found(base)[:2] and len(onward.answers) == 6


def test_plain_data(loaded: LoadedModel) -> None:
    one = Navigator(loaded, **SMALL).explore(QUESTIONS[0])
    assert plain(one)["answers"][0]["token"] == one.answers[0].token
    assert set(one.distinct) == set(one.texts) or len(one.distinct) < len(one.texts)
    assert all(answer.logprob < 0 for answer in one.answers)


def inputs_of(loaded: LoadedModel, questions: list[str]) -> dict[str, torch.Tensor]:
    rows = [loaded.tokenizer(NUMBERED_LIST.base(question))["input_ids"] for question in questions]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def test_generate_with_an_empty_context_is_plain_decoding(loaded: LoadedModel) -> None:
    inputs = inputs_of(loaded, QUESTIONS)
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": 6, "pad_token_id": 0}
    stops = Navigator(loaded).first.stop_ids
    plain = loaded.model.generate(**inputs, **settings, eos_token_id=stops)
    ours = loaded.model.generate(**inputs, **settings, custom_generate=icn_generate(loaded.tokenizer, navigate=False))
    first = plain[:, inputs["input_ids"].shape[1]]
    able = [row for row, token in enumerate(first.tolist()) if Navigator(loaded).first.begins_answer(token)]
    assert able, "no prompt of this test has a first token that can begin an answer"
    width = min(plain.shape[1], ours.shape[1])
    assert torch.equal(plain[able, :width], ours[able, :width])


def test_generate_gives_the_answers_of_the_navigator(loaded: LoadedModel) -> None:
    inputs = inputs_of(loaded, QUESTIONS)
    width = inputs["input_ids"].shape[1]
    decoding = icn_generate(loaded.tokenizer, answers=4, per_round=2)
    ours = loaded.model.generate(**inputs, do_sample=False, max_new_tokens=5, custom_generate=decoding)
    copied = loaded.model.generate(
        **inputs,
        do_sample=True,
        num_return_sequences=4,
        max_new_tokens=5,
        custom_generate=icn_generate(loaded.tokenizer, per_round=2),
    )
    assert torch.equal(ours, copied) and ours.shape[0] == 4 * len(QUESTIONS)
    explored = Navigator(loaded, rounds=2, per_round=2, max_new_tokens=5).explore(QUESTIONS)
    expected = [list(answer.tokens) for one in explored for answer in one.answers]
    assert [row[: len(tokens)] for row, tokens in zip(ours[:, width:].tolist(), expected, strict=True)] == expected
    with pytest.raises(UsageError, match="beams"):
        loaded.model.generate(**inputs, num_beams=2, max_new_tokens=5, custom_generate=decoding)
    with pytest.raises(UsageError, match="processors"):
        loaded.model.generate(
            **inputs, do_sample=False, repetition_penalty=2.0, max_new_tokens=5, custom_generate=decoding
        )
    with pytest.raises(UsageError, match="multiple"):
        loaded.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=5,
            custom_generate=icn_generate(loaded.tokenizer, answers=3, per_round=2),
        )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padded", [0, 7])
def test_tied_untied_and_padded_heads(tied: bool, padded: int) -> None:
    for kind in ("llama", "gemma2", "gpt2", "qwen3"):
        size = len(tiny().tokenizer) + padded
        loaded = tiny(kind, vocabulary=size, settings={"tie_word_embeddings": tied})
        one = Navigator(loaded, **SMALL).explore(QUESTIONS[0])
        assert len(one.answers) == 6
        assert all(answer.token < len(loaded.tokenizer) for answer in one.answers)


def test_wrong_use_is_told_in_one_sentence() -> None:
    loaded = tiny()
    for question in ("", "  \n"):
        with pytest.raises(UsageError, match="empty"):
            Navigator(loaded).explore(question)
    with pytest.raises(UsageError, match="empty"):
        Navigator(loaded).continued([])
    with pytest.raises(UsageError, match=r"5 fit"):
        Navigator(loaded).explore(QUESTIONS[0])
    for setting, value in (("rounds", 0), ("per_round", 0), ("max_new_tokens", 0), ("pool", 5), ("last", 0)):
        with pytest.raises(UsageError, match=setting):
            Navigator(loaded, **{setting: value})
    with pytest.raises(UsageError, match="its settings are"):
        Navigator(loaded, round=3)
    broken = tiny()
    with torch.no_grad():
        broken.anatomy.head.weight.fill_(float("nan"))  # type: ignore[operator, union-attr]
    with pytest.raises(NumericError, match="NaN"):
        Navigator(broken, **SMALL).explore(QUESTIONS[0])


def test_only_the_new_part_of_the_list_is_read() -> None:
    loaded = tiny()
    one = Navigator(loaded, rounds=4, per_round=2, max_new_tokens=4).explore(QUESTIONS[0])
    base = len(loaded.tokenizer(NUMBERED_LIST.base(QUESTIONS[0]))["input_ids"])
    prompts = [NUMBERED_LIST.listed("", one.texts[: 2 * round]) for round in range(4)]
    whole = sum(base + len(loaded.tokenizer.encode(prompt, add_special_tokens=False)) for prompt in prompts)
    assert one.read_tokens < whole
    pairs = itertools.pairwise(len(loaded.tokenizer.encode(prompt, add_special_tokens=False)) for prompt in prompts)
    assert one.read_tokens <= base + sum(after - before + 2 for before, after in pairs)
