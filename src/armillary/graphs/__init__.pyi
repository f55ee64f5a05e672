from .columns import Triple as Triple
from .linking import Lexicon as Lexicon, Mention as Mention
from .names import Names as Names
from .triples import KnowledgeGraph as KnowledgeGraph
