"""Correlation between every ordered pair of prompts: the heat map of a check-up."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from armillary.errors import UsageError
from armillary.methods.lincorr import core
from armillary.methods.lincorr.config import LinCorrConfig
from armillary.methods.lincorr.measurement import RelationTables, permuted_null
from armillary.methods.lincorr.tables import LogitTable
from armillary.methods.lincorr.words import halves
from armillary.numerics import Interval, RidgePath
from armillary.progress import counted

PERMUTATIONS = 20
"""At most so many in a cell: there are as many cells as pairs of prompts."""


@dataclass(frozen=True, kw_only=True)
class CorrelationMatrix:
    """Row: source prompt, column: target prompt. The diagonal is None: a prompt predicts itself."""

    names: tuple[str, ...]
    values: tuple[tuple[Interval | None, ...], ...]
    """Mean test correlation over the column's tokens."""

    null: tuple[tuple[Interval | None, ...], ...]
    """The same after shuffling the pairing."""

    def estimates(self) -> list[list[float | None]]:
        """The correlations as nested lists, None on the diagonal."""
        return [[cell.estimate if cell else None for cell in row] for row in self.values]


def prompt_tables(tables: Mapping[str, RelationTables]) -> dict[str, LogitTable]:
    """The distinct prompts of several relations by template; where two relations ask it, the larger domain is kept."""
    largest: dict[str, LogitTable] = {}
    for relation in tables.values():
        for table in (relation.source, relation.target):
            held = largest.get(table.template)
            if held is None or len(table.words.ids) > len(held.words.ids):
                largest[table.template] = table
    return largest


def correlation_matrix(tables: Mapping[str, LogitTable], config: LinCorrConfig) -> CorrelationMatrix:
    """Correlations ``[K, K]`` of K prompts read on the same subjects, each with its interval and null.

    Each source is factorised once. UsageError for fewer than two prompts or tables of different subjects or models.
    """
    if len(tables) < 2:
        raise UsageError(f"a matrix needs at least 2 prompts; got {len(tables)}.")
    if len({table.collection for table in tables.values()}) > 1:
        raise UsageError("the prompts of a matrix must be read on the same subjects of one model.")
    columns = list(tables.values())
    train, test = halves(len(columns[0].subjects), seed=config.seed)
    rows = core.TestRows(len(test), replicates=config.replicates, level=config.level, seed=config.seed)
    config = replace(config, permutations=min(config.permutations, PERMUTATIONS))
    values: list[list[Interval | None]] = [[None] * len(columns) for _ in columns]
    null: list[list[Interval | None]] = [[None] * len(columns) for _ in columns]
    with counted("correlating prompts", len(columns) ** 2) as bar:
        for row, source in enumerate(columns):
            core.rows_note(len(train), len(source.words.ids), config.ridge)
            path, source_test = RidgePath(source.rows(train)), source.rows(test)
            for column, target in enumerate(columns):
                if column != row:
                    target_train, target_test = target.rows(train), target.rows(test)
                    fit = core.solve(path, target_train, config.ridge)
                    correlation = rows.mean_correlation(fit.predict(source_test), target_test)
                    values[row][column] = rows.interval(correlation)
                    test_rows = (source_test, target_test)
                    null[row][column] = permuted_null(path, target_train, test_rows, fit.ridge, config)
                bar.advance()
    return CorrelationMatrix(names=tuple(tables), values=tuple(map(tuple, values)), null=tuple(map(tuple, null)))
