"""Bytes that decoding one token reads, dense and with part of the FFNs: computed from shapes, never typed in.

Decoding one token at a time is bound by memory, so bytes are the floor of its time and their ratio the limit of a
speed-up. Legend: L layers, M neurons, E experts.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.bricks.feed_forward import bias_O, feed_forward, weight_OI
from armillary.methods.bricks.payloads import Index
from armillary.methods.bricks.router import Router
from armillary.models import LoadedModel


@dataclass(frozen=True, kw_only=True)
class DecodeCost:
    """Bytes of weights read for one token; the KV cache, which grows with the text, is not counted."""

    dense_ffn_bytes: float
    """All FFN matrices and biases."""

    read_ffn_bytes: float
    """Those of the neurons that are read."""

    router_bytes: float
    other_bytes: float
    """Attention, norms and the head; of an embedding that is not the head a single row, which is left out."""

    @property
    def ffn_ratio(self) -> float:
        """Dense FFN bytes over those read, the router among them."""
        return self.dense_ffn_bytes / max(1.0, self.read_ffn_bytes + self.router_bytes)

    @property
    def speed_limit(self) -> float:
        """The most by which the whole model can get faster: all bytes, dense over read."""
        dense = self.dense_ffn_bytes + self.other_bytes
        return dense / (self.read_ffn_bytes + self.router_bytes + self.other_bytes)

    @property
    def ffn_share(self) -> float:
        """FFN bytes over all bytes of the dense model."""
        return self.dense_ffn_bytes / (self.dense_ffn_bytes + self.other_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, ratios included."""
        return {
            "dense_ffn_bytes": self.dense_ffn_bytes,
            "read_ffn_bytes": self.read_ffn_bytes,
            "router_bytes": self.router_bytes,
            "other_bytes": self.other_bytes,
            "ffn_share": self.ffn_share,
            "ffn_ratio": self.ffn_ratio,
            "speed_limit": self.speed_limit,
        }


def decode_cost(loaded: LoadedModel, neurons_share: float, router: Router | None = None) -> DecodeCost:
    """Cost of a token that reads this share of every layer's neurons: k / E, or ``Routing.neurons_share``.

    The router counts in the model's type; an oracle counts nothing, since it is no way to decode. UsageError for a
    share outside [0, 1], ModelError where an FFN is neither plain nor gated.
    """
    if not 0 <= neurons_share <= 1:
        raise UsageError(f"the share of neurons read must be 0 to 1; got {neurons_share}.")
    blocks = [feed_forward(loaded, layer) for layer in range(loaded.anatomy.num_layers)]
    neurons = sum(_bytes(weight_OI(one)) for block in blocks for one in block.matrices.values())
    neurons += sum(_bytes(bias_O(read)) for block in blocks for read in block.reads)
    fixed = sum(_bytes(bias_O(block.write)) for block in blocks)
    weights = 0 if router is None else router.weights_per_layer * len(blocks)
    return DecodeCost(
        dense_ffn_bytes=float(neurons + fixed),
        read_ffn_bytes=neurons * neurons_share + fixed,
        router_bytes=float(weights * loaded.anatomy.embedding.weight.element_size()),
        other_bytes=float(_read_bytes(loaded) - neurons - fixed),
    )


def static_cost(loaded: LoadedModel, keep: Index) -> DecodeCost:
    """Cost of a token with a fixed set of neurons; layers that ``keep`` does not name are read whole."""
    layers, width = loaded.anatomy.num_layers, loaded.anatomy.intermediate_size
    kept = sum(len(keep.neurons[layer]) if layer in keep.neurons else width for layer in range(layers))
    return decode_cost(loaded, kept / (layers * width))


def _read_bytes(loaded: LoadedModel) -> int:
    """Every parameter once, without embeddings that give one row a token."""
    head = loaded.anatomy.head.weight
    looked_up = {
        id(module.weight) for module in loaded.model.modules() if isinstance(module, nn.Embedding)
    } - {id(head)}  # fmt: skip
    return sum(_bytes(one) for one in loaded.model.parameters() if id(one) not in looked_up)


def _bytes(values: Tensor | None) -> int:
    return 0 if values is None else values.numel() * values.element_size()
