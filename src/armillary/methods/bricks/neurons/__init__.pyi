from .ablation import AblationTable as AblationTable, ablate as ablate, ablated as ablated
from .config import ProfileConfig as ProfileConfig
from .examples import (
    FiringExample as FiringExample,
    NeuronExamples as NeuronExamples,
    firing_examples as firing_examples,
)
from .profiling import Profile as Profile, profile as profile
from .result import (
    BestNeuron as BestNeuron,
    FiringText as FiringText,
    LayerScores as LayerScores,
    Overlap as Overlap,
    ScoreSummary as ScoreSummary,
    SetAblation as SetAblation,
    SetPair as SetPair,
    Survey as Survey,
)
from .scores import (
    FunctionalScores as FunctionalScores,
    NullScores as NullScores,
    best_interval as best_interval,
    functional_scores as functional_scores,
    null_scores as null_scores,
)
from .sets import (
    magnitude_matched as magnitude_matched,
    overlap as overlap,
    overlaps as overlaps,
    random_like as random_like,
    resident as resident,
    specialised as specialised,
    without as without,
    without_as_many as without_as_many,
)
from .sparsity import (
    AblationCurve as AblationCurve,
    CettCurve as CettCurve,
    CettThresholds as CettThresholds,
    ablation_curve as ablation_curve,
    cett_curve as cett_curve,
    cett_thresholds as cett_thresholds,
    indicator_gain as indicator_gain,
    lot_ablated as lot_ablated,
    lowest_ablated as lowest_ablated,
    truncated as truncated,
)
from .surveying import specialised_sets as specialised_sets, survey as survey
