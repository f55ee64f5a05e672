from .attribute import Attribute as Attribute, AttributeKind as AttributeKind, Span as Span, Verdict as Verdict
from .kinds.catalogue import Catalogue as Catalogue, CatalogueSettings as CatalogueSettings
from .text_stats import TextStats as TextStats
