"""The matrix agrees with single measurements; its diagonal is empty and its null low."""

import json
from dataclasses import replace

import pytest

from armillary.data import Relation
from armillary.errors import UsageError
from armillary.methods.lincorr import LinCorrConfig, correlation_matrix, prompt_tables, study
from armillary.records.plain import plain

FAST = LinCorrConfig(n=300, replicates=100, permutations=20, control_tokens=0)


@pytest.fixture(scope="module")
def done(loaded, relation):
    languages = Relation(
        id="country-language",
        source_template=relation.target_template,
        target_template="{} speaks the language of",
        source_words=(*relation.target_words, "Japan"),
        target_words=("French", "German", "Spanish"),
    )
    return study(loaded, [relation, languages], FAST)


def test_matrix_agrees_with_measure(done):
    prompts = prompt_tables(done.tables)
    assert len(prompts) == 3
    country = prompts["{} lives in the country of"]
    assert len(country.words.ids) == 11, "the larger of the two domains of this prompt"
    matrix = correlation_matrix(prompts, FAST)
    assert [matrix.values[i][i] for i in range(3)] == [None] * 3
    names = list(prompts)
    language = done.results["country-language"]
    cell = matrix.values[names.index(country.template)][names.index("{} speaks the language of")]
    assert cell.estimate == pytest.approx(language.correlation.estimate, abs=1e-9)
    assert (cell.low, cell.high) == pytest.approx((language.correlation.low, language.correlation.high))
    null = [cell for row in matrix.null for cell in row if cell]
    assert len(null) == 6 and all(abs(cell.estimate) < 0.2 for cell in null)
    assert sum(cell is not None for row in matrix.values for cell in row) == 6
    assert json.dumps(plain(matrix)) and matrix.estimates()[0][0] is None


def test_tables_of_other_subjects_are_refused(done):
    prompts = dict(list(prompt_tables(done.tables).items()))
    name = next(iter(prompts))
    with pytest.raises(UsageError, match="at least 2 prompts"):
        correlation_matrix({name: prompts[name]}, FAST)
    prompts[name] = replace(prompts[name], subjects=tuple(reversed(prompts[name].subjects)))
    with pytest.raises(UsageError, match="same subjects of one model"):
        correlation_matrix(prompts, FAST)
