"""The ways to split an FFN into experts and to choose among them, by name; importable without torch."""

from typing import Literal

Splitting = Literal["weights", "coactivation", "random"]
"""By rows of the gate that point the same way, by what is large at the same tokens, or at random: the baseline."""

RouterKind = Literal["ridge", "centroid", "mlp", "oracle"]
"""Who chooses the experts of a token: ridge and mlp are fitted to texts, centroid comes from weights alone, and oracle
knows the activations of all neurons, so that it is the bound for the others and no way to decode."""
