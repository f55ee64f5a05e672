"""The projector: the only trained part, from an encoder's vectors to token embeddings of a language model.

Legend: N vectors, E encoder width, D width of the token embeddings, R hidden width of the gated projector.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors, save as save_tensors
from torch import Tensor, nn

from armillary.errors import ModelError, NumericError, StorageError, UsageError
from armillary.files import write_atomic
from armillary.methods.vector_icl import core
from armillary.methods.vector_icl.config import Kind, Norm
from armillary.methods.vector_icl.embedding import TokenStatistics, mean_embeddings, token_statistics
from armillary.methods.vector_icl.prompts import text_ids
from armillary.models.loaded import LoadedModel
from armillary.records.plain import decode, digest


class Projector(nn.Module):
    """``slots = projector(vectors)``, ``[n, e]`` to ``[n, d]``; linear (the default) or gated ("mlp").

    Without ``norm`` a linear one has ``d * e`` parameters, a gated one ``e + d * e + 3 * r * d`` with
    ``r = expansion * d``. With ``norm="match"`` (ours) slots get the mean and spread of the token embeddings:
    ``fit_scale`` measures them, and gain and centre train unless ``train_scale`` is False.
    """

    gain: nn.Parameter
    centre: nn.Parameter
    input_mean: Tensor
    raw_mean: Tensor
    raw_norm: Tensor

    def __init__(
        self,
        vector_size: int,
        hidden_size: int,
        *,
        kind: Kind = "linear",
        norm: Norm = "none",
        expansion: int = 1,
        train_scale: bool = True,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Random weights of PyTorch's usual spread, the same for the same seed. UsageError for a bad argument."""
        super().__init__()
        if min(vector_size, hidden_size, expansion) < 1:
            raise UsageError(f"sizes of a projector are 1 or more; got {vector_size}, {hidden_size} and {expansion}.")
        if kind not in get_args(Kind):
            raise UsageError(f"a projector is 'linear' or 'mlp'; got {kind!r}.")
        if norm not in get_args(Norm):
            raise UsageError(f"norm is 'none' (the paper's) or 'match'; got {norm!r}.")
        self.vector_size, self.hidden_size, self.expansion = vector_size, hidden_size, expansion
        self.kind, self.norm, self.train_scale = kind, norm, train_scale
        inner = expansion * hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.into = nn.Linear(vector_size, hidden_size, bias=False, dtype=dtype)
            if kind == "mlp":
                self.vector_gain = nn.Parameter(torch.ones(vector_size, dtype=dtype))
                self.gate = nn.Linear(hidden_size, inner, bias=False, dtype=dtype)
                self.up = nn.Linear(hidden_size, inner, bias=False, dtype=dtype)
                self.down = nn.Linear(inner, hidden_size, bias=False, dtype=dtype)
        if norm == "match":
            self.gain = nn.Parameter(torch.ones((), dtype=dtype), requires_grad=train_scale)
            self.centre = nn.Parameter(torch.zeros(hidden_size, dtype=dtype), requires_grad=train_scale)
            self.register_buffer("input_mean", torch.zeros(vector_size, dtype=dtype))
            self.register_buffer("raw_mean", torch.zeros(hidden_size, dtype=dtype))
            self.register_buffer("raw_norm", torch.ones((), dtype=dtype))

    def forward(self, vectors: Float[Tensor, "n e"]) -> Float[Tensor, "n d"]:
        """One slot a vector, in the projector's dtype. UsageError for vectors of another width."""
        if vectors.ndim != 2 or vectors.shape[1] != self.vector_size:
            raise UsageError(f"the projector takes vectors of {self.vector_size} numbers, got {tuple(vectors.shape)}.")
        vectors = vectors.to(self.into.weight)
        if self.norm == "none":
            return self._raw(vectors)
        raw_ND = self._raw(vectors - self.input_mean)
        return core.matched_scale(raw_ND, self.raw_mean, self.raw_norm, self.gain, self.centre)

    def _raw(self, vectors_NE: Tensor) -> Tensor:
        if self.kind == "linear":
            return core.linear_projection(vectors_NE, self.into.weight)
        return core.gated_projection(
            vectors_NE, self.vector_gain, self.into.weight, self.gate.weight, self.up.weight, self.down.weight
        )

    @torch.no_grad()
    def fit_scale(self, vectors: Float[Tensor, "n e"], tokens: TokenStatistics) -> None:
        """With ``norm="match"``: from now on the slots of these vectors have the tokens' mean and spread.

        NumericError where the projector maps all of them to one point. Nothing happens with ``norm="none"``.
        """
        if self.norm == "none":
            return
        vectors = vectors.to(self.into.weight)
        self.input_mean.copy_(vectors.mean(0))
        raw_ND = self._raw(vectors - self.input_mean)
        spread = core.centred_norm(raw_ND)
        if not bool(spread > 0):
            raise NumericError("the scale of slots can't be matched: all vectors are the same.")
        self.raw_mean.copy_(raw_ND.mean(0))
        self.raw_norm.copy_(spread)
        self.gain.fill_(tokens.norm)
        self.centre.copy_(tokens.mean_D)

    @torch.no_grad()
    def start_from_ridge(
        self,
        vectors: Float[Tensor, "n e"],
        targets: Float[Tensor, "n d"],
        tokens: TokenStatistics,
    ) -> None:
        """The centred ridge start (ours), in place of the random weights; of a gated one the last matrix gets zeros.

        UsageError without ``norm="match"``: the start needs the tokens' mean.
        """
        if self.norm != "match":
            raise UsageError('the ridge start adds the tokens\' mean to a slot; give the projector norm="match".')
        given_NE = vectors.to(self.into.weight)
        given_NE = given_NE - given_NE.mean(0)
        if self.kind == "mlp":
            self.vector_gain.fill_(1.0)
            given_NE = core.rms_normalised(given_NE, self.vector_gain)
            self.down.weight.zero_()
        start = core.ridge_start(given_NE, targets, centre=tokens.mean_D, norm=tokens.norm)
        self.into.weight.copy_(start.weight)
        self.fit_scale(vectors, tokens)

    def copy(self) -> "Projector":
        """The same projector with weights of its own."""
        return copy.deepcopy(self)

    def settings(self) -> dict[str, object]:
        """Arguments that make a projector of this shape."""
        names = ("vector_size", "hidden_size", "kind", "norm", "expansion", "train_scale")
        return {name: getattr(self, name) for name in names}


# A projector on the disk: weights as safetensors, and in JSON what it belongs to; refused where that differs.

WEIGHTS, SETTINGS, VERSION = "projector.safetensors", "projector.json", 1


@dataclass(frozen=True, kw_only=True)
class EncoderFacts:
    """What a projector has to know of the encoder whose vectors it was trained on."""

    name: str
    vector_size: int
    normalised: bool = False
    """Vectors were brought to unit length."""

    prefix: str = ""
    """Text that the encoder puts before each input ("query: ")."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits over all of it."""
        return digest(asdict(self))[:16]


def save_projector(folder: Path | str, projector: Projector, loaded: LoadedModel, encoder: EncoderFacts) -> None:
    """``projector.safetensors`` and ``projector.json`` in ``folder``, made if need be.

    UsageError where the encoder's width is not the projector's; StorageError where a file can't be written.
    """
    if encoder.vector_size != projector.vector_size:
        raise UsageError(
            f"the encoder gives vectors of {encoder.vector_size} numbers, the projector takes {projector.vector_size}."
        )
    weights = {name: value.detach().cpu().contiguous() for name, value in projector.state_dict().items()}
    settings = {
        "version": VERSION,
        "projector": projector.settings(),
        "encoder": {**asdict(encoder), "fingerprint": encoder.fingerprint},
        "model": {"name": loaded.name, "fingerprint": loaded.fingerprint, "identity": loaded.identity},
    }
    write_atomic(Path(folder) / WEIGHTS, save_tensors(weights))
    write_atomic(Path(folder) / SETTINGS, json.dumps(settings, indent=2) + "\n")


def load_projector(folder: Path | str, loaded: LoadedModel, encoder: EncoderFacts) -> Projector:
    """The projector in ``folder``, on the model's device.

    UsageError where it was trained with another encoder, ModelError where with another language model, StorageError
    where the files are missing, damaged or of another version.
    """
    saved = _saved(Path(folder))
    if saved.encoder["fingerprint"] != encoder.fingerprint:
        raise UsageError(
            f"the projector in {folder} was trained on vectors of {_words(saved.encoder)}; "
            f"these are of {_words(asdict(encoder))}."
        )
    # A projector that was saved before models had an identity names the weights alone.
    own = loaded.identity if "identity" in saved.model else loaded.fingerprint
    kept = saved.model.get("identity", saved.model["fingerprint"])
    if kept != own:
        equal = ": equal weights" if saved.model["fingerprint"] == loaded.fingerprint else ""
        raise ModelError(
            f"the projector in {folder} was trained for {saved.model['name']} ({kept}); this model is {loaded.name} "
            f"({own}){equal and f'{equal}, but another configuration, tokenizer or converter'}."
        )
    try:
        weights = load_tensors((Path(folder) / WEIGHTS).read_bytes())
        projector = Projector(**saved.projector, dtype=next(iter(weights.values())).dtype)
        projector.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, TypeError, StopIteration, UsageError) as error:
        raise StorageError(f"the weights in {folder} can't be read or don't fit their settings.") from error
    return projector.to(loaded.device).eval()


@dataclass(frozen=True, kw_only=True)
class _Saved:
    """What ``projector.json`` holds."""

    version: int
    projector: dict[str, Any]
    encoder: dict[str, Any]
    model: dict[str, str]


def _saved(folder: Path) -> _Saved:
    try:
        saved = decode(_Saved, json.loads((folder / SETTINGS).read_bytes()), SETTINGS)
    except (OSError, ValueError) as error:  # a UsageError is a ValueError
        raise StorageError(f"{folder} holds no readable {SETTINGS}; save a projector there first.") from error
    if saved.version != VERSION or "fingerprint" not in saved.encoder or "fingerprint" not in saved.model:
        raise StorageError(f"{folder}/{SETTINGS} is not of version {VERSION} or lacks a part; save it anew.")
    return saved


def _words(encoder: dict[str, Any]) -> str:
    unit = ", unit length" if encoder["normalised"] else ""
    prefix = f", prefix {encoder['prefix']!r}" if encoder["prefix"] else ""
    return f"{encoder['name']} ({encoder['vector_size']} numbers{unit}{prefix})"


def new_projector(
    loaded: LoadedModel,
    vectors: Float[Tensor, "n e"],
    *,
    kind: Kind = "linear",
    norm: Norm = "none",
    seed: int = 0,
    texts: Sequence[str] | None = None,
    tokens: TokenStatistics | None = None,
) -> Projector:
    """An untrained projector from vectors like these to the model's token embeddings, on its device.

    With ``norm="match"`` the scale is measured on the vectors; with ``texts``, one a vector, it begins with the ridge
    (ours). ``tokens`` are measured where they are needed and not given.
    """
    dtype = torch.promote_types(loaded.dtype, torch.float32)
    projector = Projector(
        vectors.shape[1], loaded.anatomy.embedding.embedding_dim, kind=kind, norm=norm, seed=seed, dtype=dtype
    )
    if texts is not None:
        rows = [text_ids(loaded, text) for text in texts]
        targets = mean_embeddings(loaded, rows, core.idf_weights(rows))
        projector.start_from_ridge(vectors, targets, tokens or token_statistics(loaded))
    elif norm == "match":
        projector.fit_scale(vectors, tokens or token_statistics(loaded))
    return projector.to(loaded.device)
