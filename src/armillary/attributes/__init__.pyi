from .attribute import Attribute as Attribute, AttributeKind as AttributeKind, Span as Span, Verdict as Verdict
from .attribute_set import AttributeSet as AttributeSet, SetReport as SetReport
from .candidates import CorpusWords as CorpusWords
from .conflicts import Conflict as Conflict, repaired as repaired
from .description import DescribedAxis as DescribedAxis, Description as Description, describe as describe
from .kinds.catalogue import Catalogue as Catalogue, CatalogueSettings as CatalogueSettings
from .text_stats import TextStats as TextStats
