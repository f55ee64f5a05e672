"""Collected logits against the model's own, whatever is shared, chunked or kept."""

import copy

import numpy as np
import pytest
import torch

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.lincorr import LogitTable, PromptDomain, collect, resolve_words
from armillary.methods.lincorr.tables import CHAT_REQUEST
from armillary.models import KINDS, LoadedModel, load, tiny
from armillary.models.batches import encode
from armillary.models.prompts import chat_text

SUBJECTS = ["Paris", "snow", "JB", "red blue", "1"]
TEMPLATES = ["{} lives in the city of", "{} lives in the country of", "The color of {} is", "The size of {} is"]


def domains(loaded: LoadedModel) -> list[PromptDomain]:
    words = [["Paris", "Rome", "Oslo"], ["France", "Italy"], ["red", "blue"], ["big", "small", "red"]]
    found = [PromptDomain(template=t, words=resolve_words(loaded, w)) for t, w in zip(TEMPLATES, words, strict=True)]
    return [*found, PromptDomain(template=TEMPLATES[0], words=resolve_words(loaded, ["sun", "moon"]))]


@torch.no_grad()
def own(loaded: LoadedModel, table: LogitTable, space: str) -> np.ndarray:
    rows = []
    for subject in table.subjects:
        ids = loaded.tokenizer(table.template.replace("{}", subject), return_tensors="pt")["input_ids"]
        logits = loaded.model(ids).logits[0, -1].double()
        logits = logits.log_softmax(-1) if space == "logp" else logits
        rows.append(logits[list(table.words.ids)].numpy())
    return np.array(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", ["logits", "logp"])
def test_restricted_logits_equal_full_logits(kind, space):
    loaded = tiny(kind)
    for table in collect(loaded, domains(loaded), SUBJECTS, space=space, chunk=2, batch_size=2):
        assert table.values.dtype == np.float32 and table.space == space
        np.testing.assert_allclose(table.values, own(loaded, table, space), atol=1e-4, rtol=0)


def test_chunks_do_not_change_the_values(loaded):
    whole, parts = (collect(loaded, domains(loaded), SUBJECTS, chunk=chunk) for chunk in (256, 3))
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.values, b.values, atol=1e-5)
        assert a.model == loaded.identity


def test_kept_chunks_are_not_computed_again(loaded):
    kept: dict[str, dict[str, np.ndarray]] = {}
    computed = []

    def store(name, compute):
        if name not in kept:
            computed.append(name)
            kept[name] = compute()
        return kept[name]

    first = collect(loaded, domains(loaded), SUBJECTS, chunk=2, store=store)
    assert len(computed) == 3
    del kept[computed[1]]
    second = collect(loaded, domains(loaded), SUBJECTS, chunk=2, store=store)
    assert computed[3:] == [computed[1]]
    assert all(np.array_equal(a.values, b.values) for a, b in zip(first, second, strict=True))
    collect(loaded, domains(loaded), SUBJECTS, chunk=2, store=store, space="logp")
    collect(loaded, domains(loaded)[:1], SUBJECTS, chunk=2, store=store)
    collect(loaded, domains(loaded), [*SUBJECTS[1:], "Rome"], chunk=2, store=store)
    assert len(set(computed)) == 3 * 4, "other spaces, templates or subjects are other parts"


def test_bad_templates_and_subjects_are_refused(loaded):
    words = resolve_words(loaded, ["Paris", "Rome"])
    for template, message in [("no slot", "exactly one"), ("{} and {}", "exactly one"), ("{} is ", "white space")]:
        with pytest.raises(UsageError, match=message):
            collect(loaded, [PromptDomain(template=template, words=words)], SUBJECTS)
    with pytest.raises(UsageError, match="'snow' stands twice"):
        collect(loaded, domains(loaded), ["snow", "red", "snow"])
    with pytest.raises(UsageError, match="nothing to collect"):
        collect(loaded, [], SUBJECTS)


def test_nan_logits_are_told(loaded):
    model = copy.deepcopy(loaded.model)
    broken = load((model, loaded.tokenizer))
    with torch.no_grad():
        broken.anatomy.layers[-1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(NumericError, match="NaN or infinite"):
        collect(broken, domains(loaded), SUBJECTS)

    def damaged(_name, compute):
        return {key: np.full_like(value, np.inf) for key, value in compute().items()}

    with pytest.raises(NumericError, match="NaN or infinite"):
        collect(loaded, domains(loaded), SUBJECTS, store=damaged)


def test_chat_template_stands_before_every_prompt():
    loaded = tiny("gemma3")
    with pytest.raises(ModelError, match="no chat template"):
        collect(loaded, domains(loaded), SUBJECTS, chat_template=True)
    loaded.tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }} then {% endfor %}says"
    opening = chat_text(loaded, CHAT_REQUEST)
    assert encode(loaded, [opening])[0].count(loaded.tokenizer.bos_token_id) == 1, "by the template or the tokenizer"
    plain = collect(loaded, domains(loaded), SUBJECTS)
    chat = collect(loaded, domains(loaded), SUBJECTS, chat_template=True)
    told = collect(loaded, domains(loaded), [opening + s for s in SUBJECTS])
    assert not np.allclose(plain[0].values, chat[0].values)
    np.testing.assert_allclose(chat[0].values, told[0].values, atol=1e-5)
