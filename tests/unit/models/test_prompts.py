"""What precedes and follows a text, over tokenizers of every habit, through every reader of prompts.

The oracle is written by hand: the plain tokenizer's own tokens of a text, with the tokens of ``LEADS`` in front and
nothing behind, read by transformers' own forward.
"""

import copy
import json
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from armillary.activations.stream import run_texts
from armillary.errors import ArmillaryError, ModelError, UsageError
from armillary.methods.bricks.editing.answers import fact_row, score_answers
from armillary.methods.icn import KeySpace, Navigator, icn_generate
from armillary.methods.icn.probing import Probing
from armillary.methods.icn.templates import NUMBERED_LIST
from armillary.methods.lincorr import LinCorrConfig, PromptDomain, collect, random_words, resolve_words
from armillary.methods.lincorr.gradient import last_hidden, values_of
from armillary.methods.vector_icl.config import SlotTemplate
from armillary.methods.vector_icl.prompts import Layout
from armillary.models import LoadedModel, load, tiny
from armillary.models.batches import encode
from armillary.models.prompts import (
    beginning,
    chat_text,
    continuation_ids,
    frame,
    prompt_rows,
    shared_prefix,
    text_ids,
    token_spans,
    windows,
)
from armillary.scoring import CachedPrompts, branch_logits, greedy, next_token_logits, sample, sequence_nll
from armillary.scoring.fixed_length import draw_fixed_length, fixed_length_nll

PLAIN = tiny("llama")
SIZE = len(PLAIN.tokenizer)
TEXTS = ["Paris lives in the city of", "red", " blue green"]


def plain_ids(text: str) -> list[int]:
    return list(PLAIN.tokenizer(text, add_special_tokens=False)["input_ids"])


def wrapped(single: str) -> PreTrainedTokenizerBase:
    """The plain tokenizer with a post-processor: ``$A`` and some of its special tokens."""
    made = copy.deepcopy(PLAIN.tokenizer)
    special = [(token, made.convert_tokens_to_ids(token)) for token in single.split() if token != "$A"]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=f"{single} $B", special_tokens=special
    )
    return made


def declared(**names: bool | str) -> PreTrainedTokenizerBase:
    """As ``tokenizer_config.json`` switches the tokens on and off."""
    made = copy.deepcopy(PLAIN.tokenizer)
    for name, value in names.items():
        setattr(made, name, value)
    return made


def cls_and_sep() -> PreTrainedTokenizerBase:
    """BERT's habit, and no beginning-of-text token."""
    made = wrapped("<bos> $A <eos>")
    made.bos_token, made.cls_token, made.sep_token = None, "<bos>", "<eos>"
    return made


class Always(PreTrainedTokenizerFast):
    """Puts its tokens around a text even where none are asked for."""

    def __call__(self, *texts, add_special_tokens=True, **settings):  # type: ignore[no-untyped-def]
        return super().__call__(*texts, add_special_tokens=True, **settings)


def always() -> PreTrainedTokenizerBase:
    backend = wrapped("<bos> $A <eos>").backend_tokenizer
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return Always(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)


def grown() -> PreTrainedTokenizerBase:
    """More special tokens than the model has rows."""
    made = wrapped("<bos> $A")
    made.add_special_tokens({"additional_special_tokens": ["<|im_end|>", "<|im_start|>"]})
    return made


MAKERS: dict[str, tuple[Callable[[], PreTrainedTokenizerBase], list[int]]] = {
    "none": (lambda: PLAIN.tokenizer, []),
    "beginning": (lambda: wrapped("<bos> $A"), [1]),
    "end": (lambda: wrapped("$A <eos>"), []),
    "both": (lambda: wrapped("<bos> $A <eos>"), [1]),
    "classes": (cls_and_sep, [1]),
    "two in front": (lambda: wrapped("<bos> <eos> $A"), [1, 2]),
    "three in front, two behind": (lambda: wrapped("<eos> <bos> <pad> $A <eos> <pad>"), [2, 1, 0]),
    "the same in front and behind": (lambda: wrapped("<eos> $A <eos>"), [2]),
    "two ends": (lambda: wrapped("$A <eos> <eos>"), []),
    "declared, not added": (lambda: declared(add_bos_token=False, add_eos_token=False), []),
    "add_bos_token": (lambda: declared(add_bos_token=True), [1]),
    "add_eos_token": (lambda: declared(add_eos_token=True), []),
    "no special tokens": (lambda: declared(bos_token=None, eos_token=None, pad_token=None), []),
    "cut at the left": (lambda: declared(truncation_side="left", padding_side="left", model_max_length=3), []),
    "always": (always, [1]),
    "more tokens than rows": (grown, [1]),
}


@cache
def made(name: str) -> LoadedModel:
    return load((PLAIN.model, MAKERS[name][0]()))


@torch.no_grad()
def own_logits(loaded: LoadedModel, ids: list[int]) -> Tensor:
    """Of transformers, after each token, float64; rows of the head that are no token are left out by hand."""
    logits = loaded.model(input_ids=torch.tensor([ids])).logits[0].double()
    named = {*loaded.tokenizer.get_vocab().values()}
    logits[:, [row for row in range(logits.shape[1]) if row not in named]] = -torch.inf
    return logits


@pytest.fixture(params=MAKERS)
def habit(request: pytest.FixtureRequest) -> SimpleNamespace:
    return SimpleNamespace(loaded=made(request.param), lead=MAKERS[request.param][1], name=request.param)


def test_every_reader_reads_after_the_same_tokens(habit: SimpleNamespace) -> None:
    loaded, lead = habit.loaded, habit.lead
    rows = [[*lead, *plain_ids(text)] for text in TEXTS]
    assert encode(loaded, TEXTS) == prompt_rows(loaded, TEXTS) == rows
    assert encode(loaded, TEXTS[:1], max_tokens=4) == [rows[0][:4]]
    own = torch.stack([own_logits(loaded, row)[-1] for row in rows])
    np.testing.assert_allclose(next_token_logits(loaded, TEXTS), own, atol=1e-5)
    stems, endings = [text[:-1] for text in TEXTS], ["f", "d", "n"]
    logs = own.log_softmax(-1)
    for index, ending in enumerate(endings):
        values = branch_logits(loaded, stems, [ending], [[5, 300]], log_probabilities=True)[0]
        joined = [[*lead, *plain_ids(stem + ending)] for stem in stems]
        expected = torch.stack([own_logits(loaded, row)[-1].log_softmax(-1)[[5, 300]] for row in joined])
        np.testing.assert_allclose(values, expected, atol=1e-5)
        np.testing.assert_allclose(values[index], logs[index, [5, 300]], atol=1e-5)
    # The likeliest token, what is drawn, what a cached prompt and a gradient see.
    with torch.inference_mode():
        hidden_BD = CachedPrompts(loaded).read(encode(loaded, TEXTS))
        np.testing.assert_allclose(loaded.anatomy.logits(hidden_BD), own, atol=1e-5)
        differentiated = values_of(loaded, last_hidden(loaded, TEXTS), [7], "logp")
        np.testing.assert_allclose(differentiated, logs[:, [7]], atol=1e-5)
    drawn = sample(loaded, TEXTS, max_new_tokens=1, seed=0)
    for row, (token,), logprob in zip(logs, drawn.sequences, drawn.logprobs, strict=True):
        assert logprob == pytest.approx(float(row[token]), abs=1e-5)
    prompts = CachedPrompts(loaded)
    best = greedy(prompts, prompts.read(rows[:1]), [0], max_new_tokens=1, stop_ids=[])
    assert best == [[int(own[0].argmax())]]


def test_every_score_begins_after_what_is_given(habit: SimpleNamespace) -> None:
    loaded, lead = habit.loaded, habit.lead
    scored = sequence_nll(loaded, TEXTS[:1] * 2 + ["blue green"])
    for index, text in enumerate([*TEXTS[:1] * 2, "blue green"]):
        row = [*lead, *plain_ids(text)]
        given = max(1, len(lead))
        logs = own_logits(loaded, row).log_softmax(-1)
        expected = -sum(float(logs[at - 1, row[at]]) for at in range(given, len(row)))
        assert scored.nll[index] == pytest.approx(expected, abs=1e-4)
        assert scored.tokens[index] == len(row) - given
    answers = score_answers(loaded, TEXTS[:1], ["red blue"])
    row, before = [*lead, *plain_ids(f"{TEXTS[0]} red blue")], len(lead) + len(plain_ids(TEXTS[0]))
    logs = own_logits(loaded, row).log_softmax(-1)
    assert answers.logprobs[0] == pytest.approx(
        sum(float(logs[at - 1, row[at]]) for at in range(before, len(row))), abs=1e-4
    )
    assert run_texts(loaded, TEXTS) == sum(len(lead) + len(plain_ids(text)) for text in TEXTS)
    # The subject of a fact is found where it stands in the row.
    fact = fact_row(loaded, "the king of Paris likes red", "Paris")
    assert [fact.ids[fact.subject]] == plain_ids(" Paris") and fact.answer == len(fact.ids)
    spans = token_spans(loaded, TEXTS[0])
    assert "".join(TEXTS[0][start:stop] for start, stop in spans) == TEXTS[0] and len(spans) == len(rows_of(habit)[0])


def rows_of(habit: SimpleNamespace) -> list[list[int]]:
    return [[*habit.lead, *plain_ids(text)] for text in TEXTS]


def test_every_method_takes_its_prompts_from_here(habit: SimpleNamespace) -> None:
    loaded, lead = habit.loaded, habit.lead
    words = resolve_words(loaded, ["Paris", "London", "Rome"])
    assert set(words.ids) == {plain_ids(f" {word}")[0] for word in ("Paris", "London", "Rome")}
    domain = PromptDomain(template="{} lives in the city of", words=words)
    (table,) = collect(loaded, [domain], ["Anna", "king"], LinCorrConfig(space="logp"))
    for subject, values in zip(["Anna", "king"], table.values, strict=True):
        row = [*lead, *plain_ids(f"{subject} lives in the city of")]
        logs = own_logits(loaded, row)[-1].log_softmax(-1)
        np.testing.assert_allclose(values, logs[list(words.ids)], atol=1e-4)
    probing = Probing(loaded, "Show me cities.")
    base = NUMBERED_LIST.base("Show me cities.")
    assert probing.base == [*lead, *plain_ids(base)]
    listed = NUMBERED_LIST.listed("", ["Paris"])
    own = own_logits(loaded, [*probing.base, *plain_ids(f"\n{listed}")[len(plain_ids("\n")) :]])[-1]
    after = probing.after_list(["Paris"], [20, 21])
    np.testing.assert_allclose(after.logprobs, own.log_softmax(-1)[[20, 21]], atol=1e-4)
    assert after.ranks == [int((own > own[token]).sum()) + 1 for token in (20, 21)]
    template = SlotTemplate(bos=True)
    begin = lead or ([1] if loaded.tokenizer.bos_token_id == 1 else [])
    end = template.end if loaded.tokenizer.eos_token_id is not None else "separator"
    layout = Layout.of(loaded, SlotTemplate(bos=True, end=end))
    assert [*layout.begin] == begin == [*beginning(loaded)]
    assert layout.pieces == tuple(tuple(plain_ids(piece)) for piece in template.pieces)
    assert windows(loaded, list(range(20, 60)), 10) == [
        [*lead, *range(at, at + 10 - len(lead))] for at in range(20, 60 - (10 - len(lead)), 10 - len(lead))
    ]
    assert text_ids(loaded, " Rome") == plain_ids(" Rome") and continuation_ids(loaded, "") == []
    assert (continuation_ids(loaded, " Rome"), text_ids(loaded, "")) == (plain_ids(" Rome"), [])


def test_sequences_begin_with_the_same_tokens(habit: SimpleNamespace) -> None:
    loaded = habit.loaded
    begin = habit.lead or ([1] if loaded.tokenizer.bos_token_id == 1 else [])
    if not begin:
        with pytest.raises(UsageError, match="has no beginning-of-text token; give prompts"):
            sample(loaded, max_new_tokens=2, seed=0)
        with pytest.raises(UsageError, match="has no beginning-of-text token; give a prefix"):
            shared_prefix([loaded])
    else:
        assert [*shared_prefix([loaded]).ids] == begin and shared_prefix([loaded, loaded]).note is None
        drawn = sample(loaded, num_samples=2, max_new_tokens=3, seed=1, stop_ids=[])
        for sequence, logprob in zip(drawn.sequences, drawn.logprobs, strict=True):
            logs = own_logits(loaded, [*begin, *sequence]).log_softmax(-1)[len(begin) - 1 :]
            assert logprob == pytest.approx(float(sum(logs[at, token] for at, token in enumerate(sequence))), abs=1e-4)
    prefix = shared_prefix([loaded], "Paris is").ids
    assert [*prefix] == [*habit.lead, *plain_ids("Paris is")]
    draws = draw_fixed_length(loaded, prefix, [0, 0], length=3, seed=0)
    nll = fixed_length_nll(loaded, prefix, draws.ids_NL)
    for sequence, scores in zip(draws.ids_NL.tolist(), nll, strict=True):
        logs = own_logits(loaded, [*prefix, *sequence]).log_softmax(-1)[len(prefix) - 1 :]
        np.testing.assert_allclose(scores, [-float(logs[at, token]) for at, token in enumerate(sequence)], atol=1e-4)


def test_what_a_text_brings_along_stands_once() -> None:
    first, double, plain = made("beginning"), made("two in front"), made("none")
    assert encode(first, ["<bos>Paris", "Paris"]) == [[1, *plain_ids("Paris")]] * 2
    assert encode(plain, ["<bos>Paris"]) == [[1, *plain_ids("Paris")]]
    # Of two, a text may bring the second alone; one that brings the first begins as it says.
    assert encode(double, ["<eos>Paris", "<bos><eos>Paris"]) == [[1, 2, *plain_ids("Paris")]] * 2
    assert encode(double, ["<bos>Paris"]) == [[1, *plain_ids("Paris")]]
    # An end that the user wrote is the user's.
    assert encode(made("both"), ["Paris<eos>"]) == [[1, *plain_ids("Paris"), 2]]
    scored = sequence_nll(first, ["<bos>Paris is", "Paris is"])
    assert scored.nll[0] == pytest.approx(scored.nll[1], abs=1e-6) and scored.tokens[0] == scored.tokens[1]
    stems = branch_logits(first, ["<bos>Paris", "Paris"], [" is"], [[9]])[0]
    np.testing.assert_allclose(stems[0], stems[1], atol=1e-6)


@pytest.mark.parametrize("writes", ["{{ bos_token }}", ""])
@pytest.mark.parametrize("name", ["none", "beginning", "both", "two in front"])
def test_chat_templates_begin_once(name: str, writes: str) -> None:
    loaded = load((PLAIN.model, copy.deepcopy(made(name).tokenizer)))
    loaded.tokenizer.chat_template = writes + "{% for m in messages %}{{ m['content'] }}{% endfor %} says"
    row = encode(loaded, [chat_text(loaded, "Complete the sentence.") + " Paris"])[0]
    lead = MAKERS[name][1]
    if writes:
        lead = [1]  # the template decides; of two, too
    assert row == [*lead, *plain_ids("Complete the sentence. says Paris")]
    words = resolve_words(loaded, ["Paris", "London"])
    domain = PromptDomain(template="{} lives in", words=words)
    (table,) = collect(loaded, [domain], ["Anna"], LinCorrConfig(chat_template=True))
    own = own_logits(loaded, [*lead, *plain_ids("Complete the sentence. saysAnna lives in")])[-1]
    np.testing.assert_allclose(table.values[0], own[list(words.ids)], atol=1e-4)


def test_generate_reads_what_the_tokenizer_made_without_its_end() -> None:
    loaded, base = made("both"), NUMBERED_LIST.base("Show me cities.")
    given = loaded.tokenizer(base, return_tensors="pt")
    assert int(given["input_ids"][0, -1]) == 2, "behind the text stands an end token"
    settings = {"max_new_tokens": 4, "custom_generate": icn_generate(loaded.tokenizer, answers=3)}
    rows = loaded.model.generate(input_ids=given["input_ids"], attention_mask=given["attention_mask"], **settings)
    explored = Navigator(loaded, rounds=3, per_round=1, max_new_tokens=4).explore("Show me cities.")
    width = given["input_ids"].shape[1]
    for row, answer in zip(rows[:, width:].tolist(), explored.answers, strict=True):
        assert row[: len(answer.tokens)] == [*answer.tokens]


def word_level(words: list[str], unknown: bool) -> PreTrainedTokenizerBase:
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "[UNK]" if unknown else "a"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "[UNK]"} if unknown else {}
    inner.post_processor = processors.TemplateProcessing(single="[B] $A [E]", special_tokens=[("[B]", 0), ("[E]", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="[B]", eos_token="[E]", **special)


def test_small_vocabularies_and_slow_tokenizers_are_read_off_too() -> None:
    for tokenizer in (
        word_level(["[B]", "[E]", "[UNK]", "a", "b"], True),
        word_level(["[B]", "[E]", "a", "b"], False),
    ):
        assert (frame(tokenizer).before, frame(tokenizer).after) == ((0,), (1,))
    pieces = Tokenizer(models.BPE({"<s>": 0, "</s>": 1, "a": 2, "b": 3}, []))
    pieces.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    letters = PreTrainedTokenizerFast(tokenizer_object=pieces, bos_token="<s>", eos_token="</s>")
    assert letters("one two three", add_special_tokens=False)["input_ids"] == [], "none of its letters is known"
    assert frame(letters).before == (0,) and frame(letters).after == ()
    llama = LlamaTokenizer(vocab={"<unk>": 0, "<s>": 1, "</s>": 2, "\u2581": 3, "a": 4}, merges=[])
    assert frame(llama).after == ()


class Rewriting(PreTrainedTokenizerFast):
    """Reads a text differently when special tokens are asked for."""

    def __call__(self, text, add_special_tokens=True, **settings):  # type: ignore[no-untyped-def]
        text = [f"{one} !" for one in text] if isinstance(text, list) else f"{text[::-1]} !"
        return super().__call__(text if add_special_tokens else "abc", add_special_tokens=False, **settings)


def test_a_tokenizer_that_can_not_be_read_off_is_refused() -> None:
    odd = Rewriting(tokenizer_object=PLAIN.tokenizer.backend_tokenizer, bos_token="<bos>")
    with pytest.raises(ModelError, match="what belongs to a text can't be told"):
        encode(load((PLAIN.model, odd)), ["Paris"])


# One prefix for two models.


def test_two_models_are_read_after_one_prefix() -> None:
    other = load((PLAIN.model, declared(bos_token="<eos>")))
    prefix = shared_prefix([PLAIN, other])
    assert prefix.ids == (1,) and prefix.note is not None
    assert "'<bos>'" in prefix.note and "'<eos>'" in prefix.note and "differently" in prefix.note
    assert shared_prefix([other, PLAIN]).ids == (2,)
    assert shared_prefix([made("none"), made("beginning")]).note is None, "both begin with <bos>"
    mute, ends = made("no special tokens"), made("both")
    assert shared_prefix([mute, ends]).ids == (1,) and "with nothing" in (shared_prefix([mute, ends]).note or "")
    text = shared_prefix([made("none"), made("beginning")], "Paris")
    assert text.ids == tuple(plain_ids("Paris")) and text.note is not None
    with pytest.raises(UsageError, match="no tokens"):
        shared_prefix([PLAIN, PLAIN], "")


def test_a_prefix_that_one_model_lacks_is_not_taken() -> None:
    tokenizer, model = copy.deepcopy(PLAIN.tokenizer), copy.deepcopy(PLAIN.model)
    tokenizer.add_special_tokens({"bos_token": "<|im_start|>"})
    model.resize_token_embeddings(len(tokenizer))
    larger = load((model, tokenizer))
    for models_given in ([larger, PLAIN], [PLAIN, larger]):
        assert shared_prefix(models_given).ids == (1,) and shared_prefix(models_given).note is not None
    assert shared_prefix([larger, larger]).ids == (SIZE,)
    silent = load((PLAIN.model, declared(bos_token=None)))
    with pytest.raises(UsageError, match="tokens that all of them have; give a prefix"):
        shared_prefix([larger, silent])


# Three sizes of a vocabulary.


def with_holes(shift: int = 7, at: int = 300) -> PreTrainedTokenizerBase:
    """The plain tokenizer with ids missing in between."""
    content = json.loads(PLAIN.tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: id + shift * (id >= at) for token, id in vocabulary.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def other_sizes() -> dict[str, tuple[LoadedModel, set[int]]]:
    padded = tiny("llama", vocabulary=SIZE + 600)
    holes = load((tiny("llama", vocabulary=SIZE + 40, seed=1).model, with_holes()))
    added = copy.deepcopy(PLAIN.tokenizer)
    added.add_tokens([AddedToken("<think>", special=True), AddedToken("<extra>", lstrip=True)])
    return {
        "padded": (padded, {*range(SIZE)}),
        "holes": (holes, {*range(300), *range(307, SIZE + 7)}),
        "added": (load((padded.model, added)), {*range(SIZE + 2)}),
        "fewer rows": (load((PLAIN.model, copy.deepcopy(added))), {*range(SIZE)}),
        "untied": (tiny("qwen3", vocabulary=SIZE + 64, settings={"tie_word_embeddings": False}), {*range(SIZE)}),
    }


SIZES = other_sizes()


@pytest.mark.parametrize("name", SIZES)
def test_only_tokens_with_a_string_and_a_row_are_drawn_scored_and_ranked(name: str) -> None:
    loaded, known = SIZES[name]
    assert loaded.known_ids == known and list(loaded.token_ids) == sorted(known)
    assert {*loaded.nameless_ids} == {*range(loaded.anatomy.vocabulary_size)} - known
    drawn = sample(loaded, ["red"], num_samples=150, max_new_tokens=3, seed=0, temperature=2.0)
    fixed = draw_fixed_length(loaded, [1], [0] * 60, length=3, seed=0)
    assert {token for row in drawn.sequences for token in row} | {*fixed.ids_NL.flatten().tolist()} <= known
    # Probabilities are those over the known tokens: they sum to 1, and what is drawn is scored as it was drawn.
    own = own_logits(loaded, [1])[-1].log_softmax(-1)
    every = torch.arange(loaded.anatomy.vocabulary_size)[:, None]
    nll = fixed_length_nll(loaded, [1], every)[:, 0].double()
    np.testing.assert_allclose(nll, -own, atol=1e-5)
    assert float((-nll).exp().sum()) == pytest.approx(1, abs=1e-5)
    assert {index for index, value in enumerate(nll.tolist()) if value == np.inf} == {*loaded.nameless_ids}
    scored = fixed_length_nll(loaded, [1], fixed.ids_NL).double().sum(1)
    np.testing.assert_allclose(scored, -fixed.log_q_KN[0], atol=1e-4)
    # Ranks, keys, words.
    explored = Navigator(loaded, rounds=2, per_round=20, max_new_tokens=2).explore("Show me cities.")
    assert {answer.token for answer in explored.answers} | {
        token for answer in explored.answers for token in answer.tokens
    } <= known
    assert all(answer.rank <= len(known) for answer in explored.answers)
    if loaded.nameless_ids:
        columns = [[5, loaded.nameless_ids[0]]]
        assert branch_logits(loaded, ["red"], [" is"], columns, log_probabilities=True)[0][0, 1] == -np.inf
        assert np.isfinite(branch_logits(loaded, ["red"], [" is"], columns)[0]).all(), "raw logits are the model's own"
    keys = KeySpace.from_model(loaded)
    assert keys.vocabulary_size == len(known)
    weight = loaded.anatomy.head.weight.detach()
    assert torch.equal(keys.keys_VD, weight[sorted(known)])
    centred = weight.double() - weight[sorted(known)].double().mean(0)
    unit = torch.nn.functional.normalize(centred, dim=1)
    token = max(known)
    cosine = (unit @ unit[token]).tolist()
    expected = sorted(known - {token}, key=lambda other: -cosine[other])[:5]
    assert keys.neighbours(token, 5)[0].tolist() == expected
    clusters = keys.cluster(3)
    members = [clusters.members(cluster).tolist() for cluster in range(3)]
    assert sorted(token for cluster in members for token in cluster) == sorted(known)
    assert clusters.concentration(members[0]).clusters == 1
    clusters.cohesion(keys, pairs=50)
    assert {*random_words(loaded, 5000, seed=0)} <= known


def test_holes_keep_their_words() -> None:
    loaded, _ = SIZES["holes"]
    with pytest.raises(UsageError, match="outside this vocabulary"):
        KeySpace.from_model(loaded).centred([303])
    words = resolve_words(loaded, ["Paris", "London"])
    assert {*words.tokens} == {"\u0120Paris", "\u0120London"}


def test_a_token_without_a_row_is_one_sentence() -> None:
    loaded = SIZES["fewer rows"][0]
    assert "<extra>" in loaded.tokenizer.get_vocab(), "the tokenizer grew and the model did not"
    next_token_logits(loaded, ["red"])
    for read in (
        lambda text: next_token_logits(loaded, [text]),
        lambda text: branch_logits(loaded, [text], [" is"], [[4]]),
        lambda text: branch_logits(loaded, ["red"], [text], [[4]]),
        lambda text: sequence_nll(loaded, [text]),
        lambda text: sample(loaded, [text], max_new_tokens=1, seed=0),
        lambda text: run_texts(loaded, [text]),
        lambda text: score_answers(loaded, ["red"], [text]),
        lambda text: shared_prefix([loaded], text),
        lambda text: continuation_ids(loaded, text),
        lambda text: Probing(loaded, text),
    ):
        with pytest.raises(ModelError, match=r"the token '<extra>' \(id \d+\), and the embedding of .* \d+ rows"):
            read("red <extra> blue")
    words = resolve_words(loaded, ["Paris", "London", "<extra>"])
    assert words.dropped["<extra>"] == "the model has no row for its token"
    begins = load((PLAIN.model, grown()))
    begins.tokenizer.bos_token = "<|im_start|>"
    begins.tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(ArmillaryError, match=r"has the token '<\|im_start\|>'"):
        beginning(begins)


@pytest.mark.parametrize("texts", ["Paris", ["Paris", "a\udcffb"], ["Paris", None]])
def test_what_is_no_list_of_texts_is_one_sentence(texts: object) -> None:
    with pytest.raises(UsageError, match=r"Give a list of texts; 'Paris'|'a.udcffb' is no text|None is of type None"):
        prompt_rows(PLAIN, texts)  # type: ignore[arg-type]


def test_a_head_with_fewer_rows_than_the_embedding_is_told() -> None:
    model = copy.deepcopy(tiny("qwen3", settings={"tie_word_embeddings": False}).model)
    head = torch.nn.Linear(model.config.hidden_size, SIZE - 5, bias=False)
    head.weight.data = model.lm_head.weight.data[: SIZE - 5].clone()
    model.lm_head = head
    loaded = load((model, PLAIN.tokenizer))
    assert loaded.known_ids == {*range(SIZE - 5)}
    last = str(loaded.tokenizer.decode([SIZE - 1]))
    assert encode(loaded, [last])[0] == [SIZE - 1], "it can be read"
    next_token_logits(loaded, [last])
    with pytest.raises(ModelError, match=r"the head of .* has \d+ rows"):
        sequence_nll(loaded, [f"red{last}"])
    assert fixed_length_nll(loaded, [1], torch.tensor([[SIZE - 1]])).isinf().all()
