from .attention import (
    AttentionDilution as AttentionDilution,
    AttributeAttention as AttributeAttention,
    attention_dilution as attention_dilution,
    attention_to_attributes as attention_to_attributes,
    dilution_of as dilution_of,
)
from .counts import CountCurve as CountCurve, count_curve as count_curve, nested_sets as nested_sets
from .position import PlacedVerdicts as PlacedVerdicts, PositionBias as PositionBias, position_bias as position_bias
