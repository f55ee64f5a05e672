"""A payload as named tensors and back: how bricks are hashed and stored.

Tensors are named "<site index>.<field>": ``neurons`` int32 ``[n]``, ``labels`` int16 ``[m]`` (int32 for more experts
than that holds), ``A`` float32 ``[r, in]``, ``B`` float32 ``[out, r]``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from armillary.errors import StorageError
from armillary.methods.bricks.payloads import Index, LowRank, Partition, Payload
from armillary.methods.bricks.sites import Site

FIELDS = {"index": ("neurons",), "partition": ("labels",), "low_rank": ("A", "B")}


def payload_spec(payload: Payload) -> dict[str, Any]:
    """What of a payload is no tensor."""
    if isinstance(payload, Index):
        return {"type": "index"}
    if isinstance(payload, Partition):
        return {"type": "partition", "experts": payload.experts}
    return {"type": "low_rank"}


def payload_tensors(payload: Payload, sites: Iterable[Site]) -> dict[str, Tensor]:
    """The tensors of a payload in the order of its sites, contiguous and on the CPU."""
    found: dict[str, Tensor] = {}
    for place, site in enumerate(sites):
        if isinstance(payload, Index) and site.layer is not None:
            found[f"{place}.neurons"] = torch.from_numpy(payload.neurons[site.layer].astype(np.int32))
        elif isinstance(payload, Partition) and site.layer is not None:
            found[f"{place}.labels"] = torch.from_numpy(payload.labels_LM[site.layer].astype(_label_type(payload)))
        elif isinstance(payload, LowRank):
            for name, factor in zip("AB", payload.factors[site.path], strict=True):
                found[f"{place}.{name}"] = factor.detach().float().cpu().contiguous()
    return found


def payload_from(spec: Mapping[str, Any], tensors: Mapping[str, Tensor], sites: Mapping[int, Site]) -> Payload:
    """Inverse of the two above, for the sites given (by their index); StorageError where a tensor is missing."""
    kind = spec.get("type")
    if kind not in FIELDS:
        raise StorageError(f"the payload type {kind!r} is not known; it is one of {', '.join(FIELDS)}.")
    for place in sites:
        for name in FIELDS[kind]:
            if f"{place}.{name}" not in tensors:
                raise StorageError(f"the brick lacks its tensor {place}.{name}.")
    if kind == "low_rank":
        return LowRank({site.path: (tensors[f"{place}.A"], tensors[f"{place}.B"]) for place, site in sites.items()})
    if kind == "index":
        return Index(
            {
                site.layer: tensors[f"{place}.neurons"].numpy().astype(np.int64)
                for place, site in sites.items()
                if site.layer is not None
            }
        )
    rows = [tensors[f"{place}.labels"].numpy().astype(np.int64) for place in sorted(sites)]
    return Partition(np.stack(rows), int(spec["experts"]))


def _label_type(payload: Partition) -> type[np.signedinteger[Any]]:
    return np.int16 if payload.experts <= np.iinfo(np.int16).max else np.int32
