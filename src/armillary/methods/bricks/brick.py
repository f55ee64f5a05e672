"""One typed object for every functional part of a model, found inside it or added to it; it never holds a model.

Definitions follow "Configurable Foundation Models", Xiao and others, 2024, arXiv 2409.02877, section 2; the object
itself is ours. Bricks are hashed and stored by their specification and by named tensors, "<site index>.<field>":
``neurons`` int32 ``[n]``, ``labels`` int16 ``[m]`` (int32 for more experts than that holds), float32 ``A [r, in]``,
``B [out, r]`` and ``threshold [1]``.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, StorageError, UsageError
from armillary.methods.bricks.base import BaseRef, tensor_hash
from armillary.methods.bricks.payloads import (
    Index,
    LowRank,
    Op,
    Partition,
    Payload,
    Site,
    Thresholds,
    bound_tensors,
    sites_of,
)
from armillary.models.loaded import LoadedModel
from armillary.numerics.intervals import Interval
from armillary.records.plain import decode, digest, plain
from armillary.runs.environment import versions

PayloadType = Literal["index", "partition", "low_rank", "thresholds"]
FIELDS: dict[PayloadType, tuple[str, ...]] = {
    "index": ("neurons",),
    "partition": ("labels",),
    "low_rank": ("A", "B"),
    "thresholds": ("threshold",),
}
_TYPES: dict[type, PayloadType] = {Index: "index", LowRank: "low_rank", Thresholds: "thresholds"}


@dataclass(frozen=True, kw_only=True)
class PayloadSpec:
    """What of a payload is no tensor."""

    type: PayloadType
    experts: int | None = None
    """Of a partition."""

    @classmethod
    def of(cls, payload: Payload) -> "PayloadSpec":
        """That of a payload."""
        if isinstance(payload, Partition):
            return cls(type="partition", experts=payload.experts)
        return cls(type=_TYPES[type(payload)])

    def to_plain(self) -> Mapping[str, str | int]:
        """JSON data; no experts where there are none, which is part of a brick's id."""
        return {"type": self.type} | ({} if self.experts is None else {"experts": self.experts})


def payload_tensors(payload: Payload, sites: Iterable[Site]) -> dict[str, Tensor]:
    """The tensors of a payload in the order of its sites, contiguous and on the CPU."""
    tensors: dict[str, Tensor] = {}
    for index, site in enumerate(sites):
        if isinstance(payload, Index) and site.layer is not None:
            tensors[f"{index}.neurons"] = torch.from_numpy(payload.neurons[site.layer].astype(np.int32))
        elif isinstance(payload, Partition) and site.layer is not None:
            kind = np.int16 if payload.experts <= np.iinfo(np.int16).max else np.int32
            tensors[f"{index}.labels"] = torch.from_numpy(payload.labels_LM[site.layer].astype(kind))
        elif isinstance(payload, LowRank):
            for name, factor in zip("AB", payload.factors[site.path], strict=True):
                tensors[f"{index}.{name}"] = factor.detach().float().cpu().contiguous()
        elif isinstance(payload, Thresholds):
            tensors[f"{index}.threshold"] = torch.tensor([payload.least[site.path]], dtype=torch.float32)
    return tensors


def payload_from(spec: PayloadSpec, tensors: Mapping[str, Tensor], sites: Mapping[int, Site]) -> Payload:
    """Inverse of the two above, for the sites given (by their index); StorageError where a tensor is missing."""
    for index in sites:
        for name in FIELDS[spec.type]:
            if f"{index}.{name}" not in tensors:
                raise StorageError(f"the brick lacks its tensor {index}.{name}.")
    if spec.type == "low_rank":
        return LowRank({site.path: (tensors[f"{index}.A"], tensors[f"{index}.B"]) for index, site in sites.items()})
    if spec.type == "thresholds":
        return Thresholds({site.path: float(tensors[f"{index}.threshold"]) for index, site in sites.items()})
    if spec.type == "index":
        return Index(
            {
                site.layer: tensors[f"{index}.neurons"].numpy().astype(np.int64)
                for index, site in sites.items()
                if site.layer is not None
            }
        )
    rows = [tensors[f"{index}.labels"].numpy().astype(np.int64) for index in sorted(sites)]
    return Partition(np.stack(rows), spec.experts or 0)


Origin = Literal["emergent", "customised"]
Kind = Literal["human_defined", "self_organised", "task", "knowledge", "modality", "other"]
Granularity = Literal["neuron", "ffn_partition", "expert", "adapter", "layer", "model"]
MOST_KEYS = 4
"""More keys find a brick for more unlike inputs, and make every search longer."""


@dataclass(frozen=True, kw_only=True)
class CapabilityScore:
    """How well a brick does something: a number with its interval and what the number is."""

    metric: str
    value: Interval


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Unit vectors that a brick is retrieved by, and the encoder that made them."""

    values_KQ: NDArray[np.float32]
    encoder: str
    """Name of the encoder; keys of different encoders are never compared."""

    def __post_init__(self) -> None:
        values = self.values_KQ
        if values.ndim != 2 or not 1 <= len(values) <= MOST_KEYS or values.dtype != np.float32:
            raise UsageError(
                f"a brick has 1 to {MOST_KEYS} keys of float32, [k, q]; got {values.dtype} {values.shape}."
            )
        if not np.isfinite(values).all() or np.abs(np.linalg.norm(values, axis=1) - 1).max() > 1e-4:
            raise NumericError("the keys of a brick must be finite vectors of length 1.")

    def to_plain(self) -> Mapping[str, Any]:
        """JSON data; float32 numbers as the shortest decimals that give them back."""
        # str of a float32 has its own decimals: a third of the digits that its float64 value would take
        rows = [[float(str(number)) for number in row] for row in self.values_KQ]
        return {"values": rows, "encoder": self.encoder}

    @classmethod
    def from_plain(cls, data: Any, where: str) -> "Keys":
        """Inverse of ``to_plain``; UsageError where it is something else."""
        try:
            return cls(values_KQ=np.array(data["values"], dtype=np.float32), encoder=str(data["encoder"]))
        except (TypeError, KeyError, ValueError) as error:
            raise UsageError(f"{where} holds no keys of a brick: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a brick comes from."""

    method: str = ""
    """What made it: "LoRA, 60 steps", "ROME", "merge: average"."""

    base: str = ""
    """Name of the base model, as the user gave it."""

    data: str = ""
    """What it was made from, with a hash where there is one."""

    licence: str = ""
    """Of the brick: that of its data and its base, as far as known."""

    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    """Libraries it was made with."""


@dataclass(frozen=True, kw_only=True)
class BrickMeta:
    """What is known of a brick beside its payload."""

    capability: dict[str, CapabilityScore] = field(default_factory=dict)
    """What it does, by the name of the capability."""

    collateral: dict[str, CapabilityScore] = field(default_factory=dict)
    """What it does to everything else."""

    keys: Keys | None = None
    provenance: Provenance = field(default_factory=Provenance)
    latency_ratio: Interval | None = None
    """Measured time with the brick over time without it, where it was measured."""

    notes: dict[str, Any] = field(default_factory=dict)
    """Plain facts to keep: the errors of a merge, a base that was allowed to differ."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a brick adds to its base, computed from shapes."""

    params: int
    """Numbers of its own: none for neurons and partitions, which belong to the base."""

    bytes: int
    """Its payload as it is stored."""

    flops_per_token: int
    """Multiplications and additions, run beside the base; none once added to the weights."""

    bytes_per_token: int
    """Bytes of its own weights read for a token, run beside the base."""


@dataclass(frozen=True, kw_only=True)
class BrickFacts:
    """What a brick and its card on disk both hold."""

    name: str
    origin: Origin
    kind: Kind
    granularity: Granularity
    base: BaseRef
    sites: tuple[Site, ...]
    meta: BrickMeta = field(default_factory=BrickMeta)
    parents: tuple[str, ...] = ()
    """Ids of the bricks that this one was made from."""

    def facts(self) -> dict[str, Any]:
        """These fields alone, by name."""
        return {fact.name: getattr(self, fact.name) for fact in fields(BrickFacts)}


@dataclass(frozen=True, kw_only=True)
class Brick(BrickFacts):
    """A functional part of a language model. Make one with ``Brick.of``."""

    payload: Payload

    def __post_init__(self) -> None:
        for name, value, accepted in (
            ("origin", self.origin, get_args(Origin)),
            ("kind", self.kind, get_args(Kind)),
            ("granularity", self.granularity, get_args(Granularity)),
        ):
            if value not in accepted:
                raise UsageError(f"the {name} of a brick is one of {', '.join(accepted)}; got {value!r}.")
        if not self.name.strip() or not self.sites:
            raise UsageError(
                f"a brick has a name and at least one site; got {self.name!r} and {len(self.sites)} sites."
            )

    @classmethod
    def of(
        cls,
        loaded: LoadedModel,
        payload: Payload,
        *,
        name: str,
        op: Op | None = None,
        kind: Kind | None = None,
        meta: BrickMeta | None = None,
    ) -> "Brick":
        """The brick of a payload in the model it belongs to: sites, hashes of what it touches, and defaults.

        A low-rank change is by default a customised task adapter; an edit is ``kind="knowledge"``, which is bound to
        the very bytes of its base. Neurons, partitions and thresholds are by default emergent and self-organised.
        Raises UsageError where the payload does not fit the model.
        """
        sites = sites_of(loaded, payload, op)
        added = isinstance(payload, LowRank)
        alone = isinstance(payload, Thresholds) or (isinstance(payload, Index) and payload.size == 1)
        return cls(
            name=name,
            origin="customised" if added else "emergent",
            kind=kind or ("task" if added else "self_organised"),
            granularity="adapter" if added else "neuron" if alone else "ffn_partition",
            base=BaseRef.of(loaded, bound_tensors(loaded, payload, sites)),
            sites=sites,
            payload=payload,
            meta=meta or BrickMeta(provenance=Provenance(base=loaded.name, versions=versions())),
        )

    @cached_property
    def id(self) -> str:
        """sha256 over the canonical specification and every tensor: 64 hex digits."""
        hashed = hashlib.sha256(digest(self.to_dict()).encode())
        for name, value in sorted(payload_tensors(self.payload, self.sites).items()):
            hashed.update(f"{name} {tensor_hash(value)}\n".encode())
        return hashed.hexdigest()

    @property
    def cost(self) -> Cost:
        """What it adds to the base, from shapes."""
        tensors = payload_tensors(self.payload, self.sites).values()
        params = sum(value.numel() for value in tensors) if isinstance(self.payload, LowRank) else 0
        stored = sum(value.numel() * value.element_size() for value in tensors)
        return Cost(params=params, bytes=stored, flops_per_token=2 * params, bytes_per_token=4 * params)

    @property
    def bound_to_bytes(self) -> bool:
        """True where another value of a touched tensor makes the brick meaningless: in all but task adapters."""
        return not (isinstance(self.payload, LowRank) and self.kind == "task")

    def to_dict(self) -> dict[str, Any]:
        """The specification as plain JSON data, without tensors and id."""
        # As it is read back: 1 given where 1.0 is meant becomes 1.0 there, and must not change the id.
        meta = decode(BrickMeta, plain(self.meta), "The meta of a brick")
        own = {"format": 1, "payload": PayloadSpec.of(self.payload), "meta": meta, "cost": self.cost}
        return {name: plain(value) for name, value in {**self.facts(), **own}.items()}
