from .answers import (
    Answers as Answers,
    base_answers_right as base_answers_right,
    fact_rows as fact_rows,
    score_answers as score_answers,
)
from .facts import Fact as Fact, Neighbour as Neighbour, capital_facts as capital_facts
from .key_value import (
    KeyCovariance as KeyCovariance,
    ValueSettings as ValueSettings,
    key_covariances as key_covariances,
)
from .memit import BatchEdit as BatchEdit, edit_facts as edit_facts
from .metrics import (
    EditScores as EditScores,
    FactOutcome as FactOutcome,
    FactReading as FactReading,
    SideEffects as SideEffects,
    edit_outcome as edit_outcome,
    read_fact as read_fact,
    score_edits as score_edits,
    side_effects as side_effects,
)
from .rome import (
    FactEdit as FactEdit,
    LayerSweep as LayerSweep,
    choose_layer as choose_layer,
    edit_fact as edit_fact,
    refuse_unknown as refuse_unknown,
)
