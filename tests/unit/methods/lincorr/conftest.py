"""A tiny model, a small relation, tables made of known numbers, and a real model that is linear by construction."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from armillary.data import Relation
from armillary.methods.lincorr import LinCorrConfig, LogitTable, RelationTables, WordTable, relation_tables
from armillary.models import LoadedModel, tiny

PAIRS = {
    "Paris": "France",
    "London": "England",
    "Berlin": "Germany",
    "Madrid": "Spain",
    "Rome": "Italy",
    "Vienna": "Austria",
    "Athens": "Greece",
    "Lisbon": "Portugal",
    "Dublin": "Ireland",
    "Oslo": "Norway",
}
CITIES = (*PAIRS, "Tokyo", "Cairo")
COUNTRIES = tuple(PAIRS.values())

Make = Callable[..., RelationTables]


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    return tiny()


@pytest.fixture(scope="session")
def relation() -> Relation:
    return Relation(
        id="city-country",
        source_template="{} lives in the city of",
        target_template="{} lives in the country of",
        source_words=CITIES,
        target_words=COUNTRIES,
        gold={city: (country,) for city, country in PAIRS.items()},
    )


def word_table(count: int, mark: str) -> WordTable:
    """``count`` invented words whose token ids are their numbers."""
    names = tuple(f"{mark}{i}" for i in range(count))
    return WordTable(
        ids=tuple(range(count)),
        tokens=names,
        labels=names,
        statuses=("whole",) * count,
        entries={name: (i, "whole") for i, name in enumerate(names)},
        dropped={},
    )


@pytest.fixture(scope="session")
def make() -> Make:
    """Tables from numbers, half of the rows on either side; ``gold``: the target columns of each source column."""

    def tables(
        source: np.ndarray, target: np.ndarray, config: LinCorrConfig, gold: Sequence[set[int]] = ()
    ) -> RelationTables:
        def table(values: np.ndarray, mark: str) -> LogitTable:
            return LogitTable(
                template=f"{{}} {mark}",
                words=word_table(values.shape[1], mark),
                subjects=tuple(str(i) for i in range(len(values))),
                values=values,
                space="logits",
                model="numbers",
            )

        names = ["a", "b"]
        relation = Relation(
            id="numbers", source_template="{} s", target_template="{} t", source_words=names, target_words=names
        )
        columns = tuple(frozenset(right) for right in gold) or (frozenset[int](),) * source.shape[1]
        return relation_tables(relation, "numbers", (table(source, "s"), table(target, "t"), None), columns, config)

    return tables


@pytest.fixture(scope="session")
def exact(loaded: LoadedModel, relation: Relation) -> tuple[LoadedModel, torch.Tensor]:
    """A Llama whose country logits are W' times its city logits after any subject, whatever its layers hold; and W.

    "city" and "country" enter alike, so both prompts end in one hidden state; the countries' rows of the unembedding
    are combinations of the cities' rows.
    """
    linear = tiny(seed=1)
    tokens = {w: linear.tokenizer(f" {w}")["input_ids"][0] for w in (*CITIES, *COUNTRIES, "city", "country")}
    weight = torch.randn(len(CITIES), len(COUNTRIES), generator=torch.Generator().manual_seed(0))
    cities, countries = (sorted(tokens[w] for w in words) for words in (CITIES, COUNTRIES))
    with torch.no_grad():
        rows = linear.anatomy.embedding.weight
        rows[tokens["country"]] = rows[tokens["city"]]
        head = linear.anatomy.head.weight
        head[countries] = weight.T @ head[cities]
    return replace(linear, name="linear"), weight
