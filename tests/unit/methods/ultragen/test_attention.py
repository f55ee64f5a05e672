"""Attention to attributes: read layer by layer it is what the model itself tells; sums and ratios are as defined."""

import numpy as np
import pytest
import torch

from armillary.attributes.attribute import Attribute
from armillary.attributes.attribute_set import AttributeSet
from armillary.errors import InsufficientSamplesError, UsageError
from armillary.methods.ultragen.analyse import (
    attention,
    attention_dilution,
    attention_to_attributes,
    count_curve,
    nested_sets,
)
from armillary.methods.ultragen.sampling import prompt_text
from armillary.models import tiny

from .set_toy import include

SET = AttributeSet(attributes=(include("bread"), include("river"), include("horse")), id="s")
RESPONSE = "the man and the dog see a river and a road near the house of the king"


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "gpt_neox"])
def test_attention_is_the_models_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "CHUNK", 5)  # several passes
    loaded = tiny(kind)
    read = attention_to_attributes(loaded, SET, RESPONSE)
    assert loaded.model.config._attn_implementation != "eager"
    prompt = prompt_text(loaded, SET.render())
    ids = loaded.tokenizer(prompt + RESPONSE, return_tensors="pt", return_offsets_mapping=True)
    offsets = ids.pop("offset_mapping")[0].tolist()
    loaded.model.set_attn_implementation("eager")
    with torch.no_grad():
        layers = loaded.model(**ids, output_attentions=True).attentions
    weights = torch.stack(layers).double().mean((0, 1, 2)).numpy()
    start = next(index for index, (_, end) in enumerate(offsets) if end > len(prompt))
    for column, attribute in enumerate(SET.attributes):
        at = prompt.index(attribute.text)
        line = [index for index, (a, b) in enumerate(offsets) if a < at + len(attribute.text) and b > at]
        a_T = weights[start:, line].sum(1)
        assert read.shares[column] == pytest.approx(a_T.mean(), abs=1e-6)
        realised = [i for i, (a, b) in enumerate(offsets[start:]) if prompt_slice(prompt, RESPONSE, a, b) == "river"]
        if attribute.params["w"] == "river":
            marks = np.zeros(len(a_T), bool)
            marks[max(0, realised[0] - 3) : realised[-1] + 1] = True
            assert read.realising[column] == pytest.approx(a_T[marks].mean(), abs=1e-6)
            assert read.elsewhere[column] == pytest.approx(a_T[~marks].mean(), abs=1e-6)
            assert read.selectivity == pytest.approx(a_T[marks].mean() / a_T[~marks].mean(), abs=1e-5)
        else:
            assert read.realising[column] is None


def prompt_slice(prompt: str, response: str, start: int, end: int) -> str:
    return (prompt + response)[start:end].strip()


def test_even_attention_is_the_length_of_a_line() -> None:
    loaded = tiny("gpt2")
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if "attn.c_attn" in name:  # no query, so that every token looks at all before it alike
                parameter.zero_()
    read = attention_to_attributes(loaded, SET, RESPONSE)
    assert read.shares == pytest.approx(read.even, abs=1e-6)
    # The attention itself falls along the response, so that a ratio of 1 is not expected, only one near it.
    assert read.selectivity == pytest.approx(1, abs=0.15)


def test_dilution_by_number_of_attributes() -> None:
    loaded = tiny()
    more = AttributeSet(attributes=(*SET.attributes, *map(include, ("snow", "king", "house", "gold"))), id="m")
    dilution = attention_dilution(loaded, [(SET, RESPONSE), (more, RESPONSE), (SET, "a river")])
    assert dilution.responses == {3: 2, 7: 1}
    assert dilution.share[3].estimate > dilution.share[7].estimate
    assert dilution.even[3] > dilution.even[7]
    assert dilution.share[3].n == 2
    with pytest.raises(InsufficientSamplesError):
        attention_dilution(loaded, [])
    with pytest.raises(UsageError, match="the response is empty"):
        attention_to_attributes(loaded, SET, "")
    with pytest.raises(UsageError, match="and tiny-llama reads 512"):
        attention_to_attributes(loaded, SET, "red " * 600)


def test_nested_sets_and_their_curve() -> None:
    attributes = AttributeSet(attributes=tuple(include(f"word{letter}") for letter in "abcdefghijkl"), id="x")
    sets = nested_sets(attributes, (3, 5, 12, 45))
    assert list(sets) == [3, 5, 12]
    members = [set(own.attributes) for own in sets.values()]
    assert members[0] < members[1] < members[2] == set(attributes.attributes)
    assert nested_sets(attributes, (3,), seed=1)[3] != sets[3]
    curve = count_curve({5: [0.5, 0.75, 0.5], 3: [1.0, 1.0, 1.0], 12: [0.25, 0.5, 0.25]})
    assert [curve.csr[count].estimate for count in (3, 5, 12)] == pytest.approx([1, 7 / 12, 1 / 3])
    assert curve.fall.estimate == pytest.approx(2 / 3)
    assert curve.fall.excludes(0)
    with pytest.raises(UsageError, match="2 at 3, 1 at 5"):
        count_curve({3: [1.0, 1.0], 5: [0.5]})
    with pytest.raises(UsageError, match="1 or more"):
        nested_sets(attributes, (0,))


def test_an_attribute_is_read_where_it_is_stated() -> None:
    twice = AttributeSet(attributes=(include("bread"), Attribute(kind="soft", params={}, text="Be kind.", hard=False)))
    read = attention_to_attributes(tiny(), twice, "bread")
    assert len(read.shares) == 2
    assert read.realising[1] is None
