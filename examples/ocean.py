"""Check chains of thought against passages, then value a model by logged chains and a knowledge graph, offline.

python examples/ocean.py [MODEL]
"""

import sys

from armillary.data.relations.facts import geography_facts
from armillary.graphs import KnowledgeGraph
from armillary.methods.ocean.chains import Passages, split_steps
from armillary.methods.ocean.policy import sample_paths, verbalise
from armillary.methods.ocean.rows import read_chains, token_rows
from armillary.methods.ocean.scores import score_chains
from armillary.models import load

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"

# 1. Plain lookup. Passages need no extra; ChainChecker(graph, lexicon) looks in a graph (extra graphs).
steps, rule = split_steps("1. Madrid is the capital of Spain. 2. It has 5 million people.")
passages = Passages([(None, "Madrid, the capital of Spain, has some 3.3 million people.")])
for verdict in passages.check(steps):
    print(f"{verdict.verdict:11} {verdict.step} ({verdict.reason})")

# 2. The graph itself: facts by name, random paths, and what these say in words.
graph = KnowledgeGraph.of(geography_facts())
print(graph, graph.tails("Spain", "capital"), graph.relations_between("Paris", "France"))
said = verbalise(graph, sample_paths(graph, 8, seed=0), questions=1)
print(said[0].questions[0], " ".join(said[0].steps))

# 3. The value of a model by chains that another wrote. Here one model stands for target, base and graph's policy, so
# that every weight is 1; a policy of the graph comes from train_kg_policy, or `armillary ocean evaluate --kg`.
loaded = load(name)
rows = token_rows(loaded.tokenizer, read_chains(one.row() for one in said)).rows
estimate = score_chains(loaded.model, loaded.model, loaded.model, rows).estimate()
print(f"value {estimate.value:.3f} nats a token, effective sample {estimate.ess:.0f} of {estimate.tokens} tokens")
