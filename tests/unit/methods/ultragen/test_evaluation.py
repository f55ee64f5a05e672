"""What an evaluation counts: shares by set, micro and macro, what forbids, empty responses."""

import pytest

from armillary.attributes.attribute import soft
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import InsufficientSamplesError, UsageError
from armillary.methods.ultragen.evaluation import EvaluatedSet, scored_response, summarised

from .set_toy import include

EXCLUDE = Catalogue.default().kind("keyword_exclude").attribute({"words": ("cat",)})
FOUR = AttributeSet(attributes=(include("mill"), include("river"), include("horse"), EXCLUDE), id="four")
ONE = AttributeSet(attributes=(include("mill"),), id="one")


def test_macro_and_micro_part_where_sets_differ_in_size() -> None:
    sets = [
        EvaluatedSet(id="four", responses=[scored_response(FOUR, "a mill"), scored_response(FOUR, "a mill, a river")]),
        EvaluatedSet(id="one", responses=[scored_response(ONE, "the mill"), scored_response(ONE, "a mill")]),
    ]
    summary = summarised(sets)
    assert summary.csr.estimate == pytest.approx(((2 / 4 + 3 / 4) / 2 + 1) / 2)
    assert summary.micro.estimate == pytest.approx((2 + 3 + 1 + 1) / 10)
    assert summary.joint.estimate == 0.5
    assert summary.asking is not None and summary.asking.estimate == pytest.approx(((1 / 3 + 2 / 3) / 2 + 1) / 2)
    assert [point.csr.estimate for point in summary.best_of] == pytest.approx([0.8125, 0.875])
    assert summary.by_kind["keyword_exclude"].estimate == 1.0
    assert summary.by_kind["keyword_include"].estimate == pytest.approx(5 / 8)
    assert (summary.soft, summary.f1, summary.unjudged, summary.attributes) == (None, None, 0, 2.5)


def test_an_empty_response_satisfies_nothing() -> None:
    blank = scored_response(FOUR, " \n", reference="a mill")
    assert blank.satisfied == [False] * 4
    assert (blank.csr, blank.quality.f1) == (0.0, 0.0)


def test_soft_attributes_need_a_judge() -> None:
    mixed = AttributeSet(attributes=(include("mill"), include("cat"), include("dog"), include("hen"), soft("Be kind."),
                                     soft("Be short.")), id="mixed")  # fmt: skip
    response = scored_response(mixed, "mill cat dog", judge=lambda text, wanted: [True, False])
    assert response.csr == pytest.approx(4 / 6)
    summary = summarised([EvaluatedSet(id="mixed", responses=[scored_response(mixed, "mill cat dog")])])
    assert (summary.csr.estimate, summary.unjudged, summary.soft) == (0.75, 2, None)
    with pytest.raises(UsageError, match="soft ones need a judge"):
        scored_response(AttributeSet(attributes=(soft("Be kind."),)), "a mill")
    with pytest.raises(InsufficientSamplesError):
        summarised([])
