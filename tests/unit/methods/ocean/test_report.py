"""The page tells every value with its interval, its regime and its cautions."""

import numpy as np

from armillary.methods.ocean import Resampling, kg_ips
from armillary.methods.ocean.report import alignment_page, value_page

from .enumerated import two_tokens

TWO = two_tokens()
FEW = Resampling(replicates=50)


def test_values_are_shown_with_what_they_rest_on() -> None:
    plain = kg_ips(*TWO.arrays, logging="base", clip=1.5, resampling=FEW)
    divided = kg_ips(*TWO.arrays, self_normalized=True, logging="base", resampling=FEW)
    page = value_page({"model": plain, "model, self-normalised": divided})
    assert page.measures["model"].estimate == plain.value
    (section,) = page.sections
    assert f"{plain.value:.3f}" in section.summary and "4 chains" in section.summary
    assert "shaped by the graph" in section.meaning and "clipped" in section.caution
    assert "no bound" not in section.caution and "observed range" in section.caution
    rows = section.tables[0].rows
    assert rows[0][1] == "kg-ips" and rows[1][1] == "snips" and rows[1][4] is None and rows[0][-1] == "no"
    bounded = kg_ips(*TWO.arrays, logging="lambda", resampling=Resampling(replicates=50, term_bounds=(-9.0, 0.0)))
    assert "observed range" not in value_page({"model": bounded}).sections[0].caution


def test_an_alignment_tells_which_way_the_value_went() -> None:
    many = np.repeat(np.arange(4), 40)
    target, *rest = TWO.rows(many)
    before = kg_ips(target, *rest, logging="base", resampling=FEW)
    after = kg_ips(target - 2.0, *rest, logging="base", resampling=FEW)
    log = [{"step": 1.0, "ocean/value": -1.0, "ocean/kl": 0.0}, {"step": 2.0, "ocean/value": -0.5}, {"loss": 1.0}]
    page = alignment_page(log, before, after)
    assert "value rose" in page.findings[0].text and page.sections[0].summary.startswith("2 lines")
    titles = [figure.title for figure in page.sections[0].figures]
    assert titles == ["value, nats a token", "divergence from the base policy, nats a token"]
    assert "value fell" in alignment_page(log, after, before).findings[0].text
    assert "did not clearly move" in alignment_page(log, before, before).findings[0].text
