import armillary.cards

from .config import LinCorrConfig as LinCorrConfig
from .editing import (
    EditOutcome as EditOutcome,
    LogitEdit as LogitEdit,
    SpilloverResult as SpilloverResult,
    beside_others as beside_others,
    combine_edits as combine_edits,
    edit_and_trace as edit_and_trace,
)
from .gradient import GradientCorrelation as GradientCorrelation, gradient_correlation as gradient_correlation
from .matrix import (
    CorrelationMatrix as CorrelationMatrix,
    correlation_matrix as correlation_matrix,
    prompt_tables as prompt_tables,
)
from .measurement import (
    RelationTables as RelationTables,
    fit_relation as fit_relation,
    measure as measure,
    relation_tables as relation_tables,
    restricted as restricted,
)
from .method import (
    Study as Study,
    StudyScores as StudyScores,
    lincorr as lincorr,
    recollect as recollect,
    study as study,
)
from .resilience import (
    Completeness as Completeness,
    TransferResult as TransferResult,
    by_completeness as by_completeness,
    transfer as transfer,
    whole_word_advantage as whole_word_advantage,
)
from .result import (
    HitRate as HitRate,
    RelationFit as RelationFit,
    RelationResult as RelationResult,
    RelationScores as RelationScores,
    hit_at as hit_at,
)
from .tables import LogitTable as LogitTable, PromptDomain as PromptDomain, collect as collect
from .words import (
    WordCoverage as WordCoverage,
    WordTable as WordTable,
    halves as halves,
    random_words as random_words,
    resolve_words as resolve_words,
    vocabulary_subjects as vocabulary_subjects,
)

CARD: armillary.cards.MethodCard
