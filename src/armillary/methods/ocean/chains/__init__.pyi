from .graph_choice import ChosenGraph as ChosenGraph, chosen_graph as chosen_graph
from .phrases import Phrases as Phrases
from .reading import WrittenChain as WrittenChain, read_written as read_written
from .sources import Passages as Passages, SourceVerdict as SourceVerdict, read_passages as read_passages
from .steps import split_steps as split_steps
from .verdicts import ChainChecker as ChainChecker, StepVerdict as StepVerdict, check_chain as check_chain
