"""Responses in the model's template, the best of K by its closed form, and an outline first."""

from itertools import combinations

import numpy as np
import pytest

from armillary.errors import UsageError
from armillary.methods.ultragen import sampling
from armillary.methods.ultragen.config import SamplingConfig
from armillary.methods.ultragen.sampling import best_of_curve, expected_best, outline_then_write, responses
from armillary.models import LoadedModel, tiny

SHORT = SamplingConfig(max_new_tokens=5, batch_size=3)


def chatty() -> LoadedModel:
    loaded = tiny()
    loaded.tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "
    return loaded


def test_the_best_of_k_is_the_mean_over_all_choices() -> None:
    scores = np.random.default_rng(0).integers(0, 5, size=(6, 5)) / 4
    for k in range(1, 6):
        brute = [np.mean([max(chosen) for chosen in combinations(row, k)]) for row in scores]
        np.testing.assert_allclose(expected_best(scores, k), brute)
    curve = best_of_curve(scores)
    assert [point.k for point in curve] == [1, 2, 3, 4, 5]
    assert curve[0].csr.estimate == pytest.approx(scores.mean())
    assert curve[-1].csr.estimate == pytest.approx(scores.max(1).mean())
    with pytest.raises(UsageError, match="1 <= k <= K"):
        expected_best(scores, 6)


def test_k_responses_to_each_request_whatever_the_batch() -> None:
    loaded = chatty()
    drawn = responses(loaded, ["name a city", "sing"], 3, config=SHORT, seed=1)
    assert [len(row) for row in drawn] == [3, 3]
    assert len({*drawn[0], *drawn[1]}) == 6
    wide = SamplingConfig(max_new_tokens=5, batch_size=16)
    assert sampling.sampler_of(loaded, wide)(["name a city", "sing"], 3, 1) == drawn
    assert responses(loaded, [], 3) == []


def test_a_prompt_that_leaves_no_room_is_refused_with_its_tokens() -> None:
    loaded = tiny()
    with pytest.raises(
        UsageError, match=r"a prompt of 2 lines has \d+ tokens, and with 505 new ones that is more than"
    ):
        responses(loaded, ["a city\na country of the world"], config=SamplingConfig(max_new_tokens=505))


def test_the_second_request_holds_the_outline_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[list[str]] = []

    def answers(loaded: LoadedModel, asked: list[str], k: int = 1, **settings: object) -> list[list[str]]:
        requests.append(asked)
        return [[f"plan {len(requests)}"] for _ in asked]

    monkeypatch.setattr(sampling, "responses", answers)
    asked_for = ['Include "mill".', "Be kind."]
    assert outline_then_write(tiny(), asked_for) == ["plan 2", "plan 2"]
    first, second = requests
    assert all(
        request in outline and "Do not write the text yet" in outline
        for request, outline in zip(asked_for, first, strict=True)
    )
    assert all(
        text.startswith(request) and text.endswith("plan 1") for request, text in zip(asked_for, second, strict=True)
    )
