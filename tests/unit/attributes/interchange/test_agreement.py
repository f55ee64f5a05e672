"""Against lm-eval's own checkers, on generated responses with thresholds at the boundary: strict verdicts are theirs.

Skipped where lm-eval is not installed. nltk's trained data is on few machines, so that both sides cut sentences by an
untrained punkt here: the rule is compared, not the model.
"""

import random
import re
import sys
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from armillary.attributes.interchange import ifeval, strict
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.text_stats import TextStats
from unit.attributes.interchange.responses import arguments, response

lm_eval = pytest.importorskip("lm_eval")
langdetect = pytest.importorskip("langdetect")
nltk = pytest.importorskip("nltk")

RESPONSES, SLOW = 2000, 100
"""Responses for each instruction, and for those that detect a language, which takes lm-eval milliseconds each."""

LANGUAGE = ("language:response_language", "change_case:english_capital", "change_case:english_lowercase")
PAGE = Path(__file__).parents[4] / "docs" / "methods" / "ultragen.md"


@pytest.fixture(scope="module")
def checkers() -> Iterator[dict[str, Any]]:
    """lm-eval's classes by id; the package's own start would load metrics that they don't need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nltk, "download", lambda *args, **kwargs: False)
        for name in ("tasks", "tasks.ifeval"):
            module = types.ModuleType(f"lm_eval.{name}")
            module.__path__ = [str(Path(lm_eval.__path__[0], *name.split(".")))]
            patch.setitem(sys.modules, f"lm_eval.{name}", module)
        instructions_util = import_module("lm_eval.tasks.ifeval.instructions_util")
        instructions_registry = import_module("lm_eval.tasks.ifeval.instructions_registry")
        sentences = import_module("nltk.tokenize.punkt").PunktSentenceTokenizer()
        words = import_module("nltk.tokenize.destructive").NLTKWordTokenizer()

        def tokens(text: str) -> list[str]:
            return [word for sentence in sentences.tokenize(text) for word in words.tokenize(sentence)]

        patch.setattr(langdetect.DetectorFactory, "seed", 0)
        patch.setattr(instructions_util, "_get_sentence_tokenizer", lambda: sentences)
        patch.setattr(instructions_util.nltk, "word_tokenize", tokens)
        patch.setattr(strict, "sentence_tokenizer", lambda: sentences)
        registry: dict[str, Any] = instructions_registry.INSTRUCTION_DICT
        yield registry


@pytest.fixture(scope="module")
def analysed() -> list[tuple[str, TextStats]]:
    texts = [response(random.Random(seed)) for seed in range(RESPONSES)]
    return [(text, Catalogue.default().stats(text)) for text in texts]


def documented() -> set[str]:
    """Ids that the page says differ."""
    return set(re.findall(r"^\| `([a-z_]+:[a-z_]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", ifeval.READ)
def test_strict_verdicts_are_lm_evals_and_ours_differ_where_the_page_says(
    name: str, checkers: dict[str, Any], analysed: list[tuple[str, TextStats]]
) -> None:
    different = 0
    for seed, (text, stats) in enumerate(analysed[: SLOW if name in LANGUAGE else RESPONSES]):
        given = arguments(random.Random(f"{name} {seed}"), name, text)
        checker = checkers[name](name)
        checker.build_description(**given)
        theirs = bool(text.strip() and checker.check_following(text))
        assert strict.strict_verdict(name, given, text) == theirs, (given, text)
        verdicts = [Catalogue.default().check(attribute, stats) for attribute in ifeval.mapped(name, given) or ()]
        different += theirs != (not stats.is_empty and all(verdict.satisfied is True for verdict in verdicts))
    assert not different or name in documented(), f"{different} verdicts differ"


def test_the_registry_holds_nothing_else(checkers: dict[str, Callable[..., object]]) -> None:
    assert set(checkers) == set(ifeval.READ) == set(strict.RULES)
