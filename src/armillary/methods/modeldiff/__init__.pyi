import armillary.cards

from .ancestry import (
    Lineage as Lineage,
    Relative as Relative,
    known_derivations as known_derivations,
    lineage as lineage,
    noisy as noisy,
    rounded as rounded,
)
from .comparison import compare as compare
from .config import CompareConfig as CompareConfig, InputSpace as InputSpace
from .core import (
    Direction as Direction,
    Draws as Draws,
    Proposal as Proposal,
    Reliability as Reliability,
    Scorer as Scorer,
    SequenceSource as SequenceSource,
    effective_size as effective_size,
    reliability as reliability,
)
from .curves import Agreement as Agreement, CountTable as CountTable, Spread as Spread
from .ratings import (
    PrivateInputs as PrivateInputs,
    RatedDirection as RatedDirection,
    RatingAgreement as RatingAgreement,
    agreement_with_people as agreement_with_people,
)
from .result import Comparison as Comparison, Curve as Curve, SampleExample as SampleExample
from .sheets import (
    SheetRow as SheetRow,
    export_sheet as export_sheet,
    rate as rate,
    rating_column as rating_column,
    read_ratings as read_ratings,
    sheet_rows as sheet_rows,
)
from .source import ModelSource as ModelSource, common_ids as common_ids, vocabulary_hash as vocabulary_hash
from .tempered_source import LoadedTempered as LoadedTempered, TemperedSource as TemperedSource
from .tempering import (
    Redraw as Redraw,
    TemperedChains as TemperedChains,
    TemperedModel as TemperedModel,
    parallel_tempering as parallel_tempering,
)
from .text_mode import TextComparison as TextComparison, compare_texts as compare_texts
from .weights import MatrixPair as MatrixPair, WeightComparison as WeightComparison, compare_weights as compare_weights
from .window import Pilot as Pilot, drawn_pilot as drawn_pilot, text_window as text_window

CARD: armillary.cards.MethodCard
