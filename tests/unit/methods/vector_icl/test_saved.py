"""Projectors on the disk: a round trip, and what is refused."""

from pathlib import Path

import pytest
import torch

from armillary.errors import ModelError, StorageError, UsageError
from armillary.methods.vector_icl.projector import (
    SETTINGS,
    WEIGHTS,
    EncoderFacts,
    Projector,
    load_projector,
    save_projector,
)
from armillary.models.tiny_models import tiny

FACTS = EncoderFacts(name="minilm", vector_size=5, normalised=True)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_round_trip_and_refusals(tmp_path: Path, kind: str) -> None:
    model, projector = tiny("llama"), Projector(5, 32, kind=kind, norm="match", seed=3)  # type: ignore[arg-type]
    save_projector(tmp_path, projector, model, FACTS)
    vectors = torch.randn(4, 5)
    assert torch.equal(load_projector(tmp_path, model, FACTS)(vectors), projector(vectors))
    with pytest.raises(UsageError, match=r"minilm .* unit length.*; these are of minilm"):
        load_projector(tmp_path, model, EncoderFacts(name="minilm", vector_size=5))
    with pytest.raises(ModelError, match="was trained for tiny-llama"):
        load_projector(tmp_path, tiny("llama", seed=1), FACTS)
    (tmp_path / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(StorageError, match="weights"):
        load_projector(tmp_path, model, FACTS)
    (tmp_path / SETTINGS).write_text("{}")
    with pytest.raises(StorageError, match=r"projector\.json"):
        load_projector(tmp_path, model, FACTS)
    with pytest.raises(UsageError, match="vectors of 4"):
        save_projector(tmp_path, projector, model, EncoderFacts(name="x", vector_size=4))
