from .columns import Triple as Triple
from .english import ENGLISH as ENGLISH, NameRules as NameRules
from .linking import Lexicon as Lexicon, Mention as Mention
from .names import Names as Names
from .readers.tables import read_triples as read_triples
from .triples import KnowledgeGraph as KnowledgeGraph
from .walks import Paths as Paths, random_walks as random_walks
