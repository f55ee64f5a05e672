import armillary.cards

from .audit.sources import read_samples as read_samples
from .measures import (
    OrderMetrics as OrderMetrics,
    find_order_issues as find_order_issues,
    metrics as metrics,
)
from .orders import order as order
from .readers.interface import Reader as Reader
from .readers.registry import reader as reader
from .reorder import Reorder as Reorder
from .steps import Sample as Sample, Step as Step

CARD: armillary.cards.MethodCard
