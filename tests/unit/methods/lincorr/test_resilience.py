"""An old map on a changed model: nothing lost where the relation is built in, all lost where words are redrawn."""

import copy
from dataclasses import replace

import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.lincorr import LinCorrConfig, recollect, study, transfer
from armillary.models import LoadedModel, load
from armillary.records.plain import plain

FAST = LinCorrConfig(n=300, replicates=100, permutations=20, control_tokens=0, ridge=1e-6)


@pytest.fixture(scope="module")
def done(exact, relation):
    return study(exact[0], [relation], FAST)


def changed(loaded: LoadedModel, change) -> LoadedModel:
    tuned = load((copy.deepcopy(loaded.model), loaded.tokenizer))
    with torch.no_grad():
        change(tuned)
    return load((tuned.model, tuned.tokenizer))


def moved(done, exact, change):
    tables, fit = done.tables["city-country"], done.results["city-country"].fit
    return transfer(fit, tables, recollect(changed(exact[0], change), tables, FAST), FAST)


def test_a_map_built_into_the_unembedding_survives_any_change_below_it(done, exact):
    def disturb(tuned):
        for layer in tuned.anatomy.layers:
            layer.mlp.down_proj.weight.add_(0.2 * torch.randn_like(layer.mlp.down_proj.weight))

    result = moved(done, exact, disturb)
    assert result.before.estimate > 0.9999 and result.after.estimate > 0.999
    assert abs(result.drop.estimate) < 1e-3 and result.refitted.estimate > 0.999
    assert result.permuted.high < 0.7
    assert set(plain(result)) == {"relation", "before", "after", "drop", "refitted", "permuted"}


def test_a_map_is_lost_when_the_unembedding_is_redrawn(done, exact):
    def redraw(tuned):
        tuned.anatomy.head.weight.copy_(torch.randn_like(tuned.anatomy.head.weight))

    result = moved(done, exact, redraw)
    assert result.after.estimate < 0.6 and result.drop.low > 0.3


def test_a_model_is_not_compared_with_itself(done):
    tables, fit = done.tables["city-country"], done.results["city-country"].fit
    with pytest.raises(UsageError, match="are the same"):
        transfer(fit, tables, tables, FAST)


def test_tables_that_do_not_belong_together_are_refused(done, exact):
    tables, fit = done.tables["city-country"], done.results["city-country"].fit
    after = recollect(changed(exact[0], lambda m: m.anatomy.head.weight.mul_(1.1)), tables, FAST)
    with pytest.raises(UsageError, match="belongs to another model"):
        transfer(replace(fit, model="else"), tables, after, FAST)
    words = replace(after.source.words, tokens=tuple(reversed(after.source.words.tokens)))
    with pytest.raises(UsageError, match="name the answer tokens differently"):
        transfer(fit, tables, replace(after, source=replace(after.source, words=words)), FAST)
    with pytest.raises(UsageError, match="same subjects"):
        transfer(fit, tables, replace(after, source=replace(after.source, space="logp")), FAST)
