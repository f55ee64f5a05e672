from .attribute import Attribute as Attribute, AttributeKind as AttributeKind, Span as Span, Verdict as Verdict
from .text_stats import TextStats as TextStats
