"""Instrument: is it the same thing that is compared? Everything beside the weights that makes two models read, or be
asked, differently: revision, tokens, template, special tokens, configuration; and how many tensors changed."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from armillary.diff.effect import Described, Effect, Instrument
from armillary.diff.evidence import Evidence
from armillary.diff.pair import Origin
from armillary.diff.where.changes import WeightChanges, measure as measured_changes
from armillary.models import LoadedModel, load, open_tokenizer
from armillary.models.adapters.lora import is_adapter
from armillary.models.adapters.lora_settings import LoraSettings
from armillary.models.adapters.stated_base import same_model
from armillary.models.folders import read_settings
from armillary.models.loaded import joined_digest, meaningful_settings
from armillary.models.quiet import quiet
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Section, Table
from armillary.report.wording import shortened

SHOWN = 120
"""Characters of a value in the table."""

MOST_SHARED = 0.9
"""Share of the larger vocabulary that both must have, where the smaller is a part of it, to be compared token by
token."""

_SNAPSHOT = re.compile(r"snapshots[/\\]([0-9a-f]{40})")


@dataclass(frozen=True, kw_only=True)
class IdentityFact:
    """One thing that two models may have alike."""

    what: str
    base: str
    after: str
    same: bool
    matters: str = ""
    """Why it makes the comparison unfair where it differs; empty for what only describes the files."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """All facts, in the order of the page."""

    facts: list[IdentityFact]
    changed: int
    """Tensors of which any number differs."""

    moved: int
    """Those of them that no rounding explains."""

    tensors: int
    unpaired: int
    """Tensors that only one of the two has, or that have other shapes."""

    reordered: int
    problem: str


def measure(evidence: Evidence) -> Identity:
    """What both models' files say. ModelError for weights that are not finite."""
    pair = [evidence.pair.origins[side] for side in ("base", "after")]
    changes = measured_changes(evidence)
    return identity(pair[0], pair[1], changes)


def identity(base: Origin, after: Origin, changes: WeightChanges) -> Identity:
    """The facts of two models; an adapter has those of its base but for what its folder says."""
    lora = after.folder if after.ready is None and after.folder is not None and is_adapter(after.folder) else None
    facts = [
        IdentityFact(
            what="revision", base=_revision(base), after=_revision(after), same=_revision(base) == _revision(after)
        )
    ]
    if lora is not None:
        facts += _adapter_facts(lora, base)
    else:
        first, second = _Parts.of(base), _Parts.of(after)
        facts += [*_tokens(first, second), *_settings(first, second)]
    dtypes = [", ".join(changes.dtypes.get(side, [])) for side in ("base", "after")]
    if all(dtypes):
        facts.append(
            IdentityFact(what="numbers in the files", base=dtypes[0], after=dtypes[1], same=dtypes[0] == dtypes[1])
        )
    return Identity(
        facts=facts,
        changed=sum(one.change > 0 for one in changes.tensors),
        moved=sum(one.moved > 0 for one in changes.tensors),
        tensors=len(changes.tensors),
        unpaired=len({*changes.added, *changes.removed, *changes.reshaped}),
        reordered=len(changes.reordered),
        problem=changes.problem,
    )


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What lies beside the weights of one model."""

    settings: Mapping[str, Any]
    generation: Mapping[str, Any]
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def of(cls, origin: Origin) -> "_Parts":
        """Read from the files, or from the model where it was made in memory."""
        if origin.ready is not None or origin.folder is None:
            loaded: LoadedModel = load(origin.name) if origin.ready is None else origin.ready
            generation = getattr(loaded.model, "generation_config", None)
            kept = {} if generation is None else generation.to_dict()
            return cls(settings=loaded.model.config.to_dict(), generation=kept, tokenizer=loaded.tokenizer)
        folder = origin.folder
        settings: Mapping[str, Any] = read_settings(folder)
        with quiet():
            # What an older version wrote under other names, or left at its default, is brought to one form; but of a
            # model with code of its own, which nobody said may run, it stays as it is written.
            with suppress(Exception):
                settings = AutoConfig.from_pretrained(folder, local_files_only=True).to_dict()
            there = (folder / "generation_config.json").is_file()
            kept = GenerationConfig.from_pretrained(folder, local_files_only=True).to_dict() if there else {}
        return cls(settings=settings, generation=kept, tokenizer=open_tokenizer(folder, origin.name))


_UNFAIR = {
    "tokens": "Between other tokens no divergence is measured: texts are compared in bits per byte, answers by what "
    "they say.",
    "how text is cut": "The same text becomes other tokens: texts are compared in bits per byte, answers by what they "
    "say.",
    "special tokens": "The two begin or end a text differently.",
    "template": "Each is asked through its own template, so that what differs may be the template's doing.",
    "settings": "The same weights would compute something else with them.",
}


def _tokens(first: _Parts, second: _Parts) -> list[IdentityFact]:
    vocabularies = [parts.tokenizer.get_vocab() for parts in (first, second)]
    alike = sum(vocabularies[1].get(token) == index for token, index in vocabularies[0].items())
    only = [len(vocabulary) - alike for vocabulary in vocabularies]
    counts = [f"{len(v):,} tokens, {n:,} of its own" for v, n in zip(vocabularies, only, strict=True)]
    # One or two tokens more are usual after a fine-tune; those that both have keep their ids.
    grown = alike == min(map(len, vocabularies)) and alike >= MOST_SHARED * max(map(len, vocabularies))
    facts = [_fact("tokens", counts[0], counts[1], vocabularies[0] == vocabularies[1])]
    facts = [replace(fact, matters="") for fact in facts] if grown else facts
    ways = [_way(parts.tokenizer) for parts in (first, second)]
    # The merges belong to how text is cut, and would be told twice where the tokens themselves differ.
    facts.append(_fact("how text is cut", ways[0], ways[1], ways[0] == ways[1]))
    special = [
        ", ".join(f"{name} {token}" for name, token in sorted(parts.tokenizer.special_tokens_map.items()))
        for parts in (first, second)
    ]
    facts.append(_fact("special tokens", special[0], special[1], special[0] == special[1]))
    templates = [str(parts.tokenizer.chat_template or "") for parts in (first, second)]
    named = [f"{len(text):,} characters, {joined_digest(text)[:8]}" if text else "none" for text in templates]
    facts.append(_fact("template", named[0], named[1], templates[0] == templates[1]))
    return facts


def _way(tokenizer: PreTrainedTokenizerBase) -> str:
    """Normaliser, pre-tokeniser, merges and post-processor, as a digest."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return type(tokenizer).__name__
    ways = json.loads(backend.to_str())
    model = {name: value for name, value in ways["model"].items() if name not in ("vocab", "unk_token")}
    names = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    kind = str((ways.get("pre_tokenizer") or {}).get("type", "no pre-tokeniser"))
    return f"{ways['model'].get('type')}, {kind}, {joined_digest([model, *(ways.get(name) for name in names)])[:8]}"


# Sizes that follow from the tokens and the layers, which the page tells by themselves.
_TOLD = (
    "vocab_size", "quantization_config", "eos_token_id", "bos_token_id", "pad_token_id",
    "num_hidden_layers", "n_layer", "num_layers", "layer_types",
)  # fmt: skip


def _settings(first: _Parts, second: _Parts) -> list[IdentityFact]:
    facts = []
    for what, pair, matters in (
        ("settings", (first.settings, second.settings), True),
        ("settings of generation", (first.generation, second.generation), False),
    ):
        flat = [_flat(meaningful_settings(dict(settings))) for settings in pair]
        names = sorted(
            name
            for name in {*flat[0], *flat[1]}
            if flat[0].get(name) != flat[1].get(name) and name.rpartition(".")[2] not in _TOLD
        )
        values = [", ".join(f"{name} {settings.get(name, 'not set')}" for name in names) for settings in flat]
        same = [values[0] or f"{len(flat[0])} alike", values[1] or f"{len(flat[1])} alike"]
        facts.append(
            IdentityFact(
                what=what, base=same[0], after=same[1], same=not names, matters=_UNFAIR["settings"] if matters else ""
            )
        )
    return facts


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            values |= _flat(value, f"{above}{name}.")
        else:
            values[f"{above}{name}"] = str(value)
    return values


def _adapter_facts(folder: Path, base: Origin) -> list[IdentityFact]:
    """What an adapter's folder says of its base, and a template that it brings along."""
    settings = LoraSettings.read(folder)
    stated = f"{settings.base}{f' at {settings.revision}' if settings.revision else ''}" or "none"
    verdict = same_model(settings.base, settings.revision, base.name) if settings.base else "not verifiable"
    facts = [
        IdentityFact(
            what="base that the adapter names",
            base=base.name,
            after=stated,
            same=verdict == "same",
            matters="It can't be verified that the adapter was trained on this base." if verdict != "same" else "",
        )
    ]
    if (folder / "tokenizer_config.json").is_file() and (folder / "tokenizer.json").is_file():
        own = open_tokenizer(folder, str(folder))
        before = _Parts.of(base).tokenizer
        facts.append(
            IdentityFact(
                what="template in the adapter's folder",
                base="that of base",
                after="another one" if own.chat_template not in (None, before.chat_template) else "that of base",
                same=own.chat_template in (None, before.chat_template),
                matters="Both are asked through base's template; the adapter may have been trained with the one that "
                "it brings along.",
            )
        )
    return facts


def _fact(what: str, base: str, after: str, same: bool) -> IdentityFact:
    return IdentityFact(what=what, base=base, after=after, same=same, matters=_UNFAIR[what])


def _revision(origin: Origin) -> str:
    if origin.ready is not None:
        return "given open"
    if origin.folder is None:
        return "made in memory"
    commit = _SNAPSHOT.search(str(origin.folder))
    return f"commit {commit[1][:12]}" if commit else f"files {origin.identity[:12]}"


def describe(result: Identity) -> Described:
    """A table of all facts; what makes the comparison unfair is told in words."""
    unfair = [fact for fact in result.facts if fact.matters and not fact.same]
    effects = []
    if unfair:
        listed = ", ".join(fact.what for fact in unfair)
        count = float(len(unfair))
        effects.append(
            Effect(
                id="identity/reads",
                kind="reads differently",
                sentence=f"The two are not read or asked alike: other {listed}.",
                value=Interval(
                    estimate=count, low=count, high=count, n=len(result.facts), how="exact, from the files"
                ),
                unit="things beside the weights",
                p=0.0,
                floor=0.0,
                section="identity",
            )
        )
    rows: list[list[Cell]] = [
        [fact.what, shortened(fact.base, SHOWN), shortened(fact.after, SHOWN), "yes" if fact.same else "no"]
        for fact in result.facts
    ]
    section = Section(
        id="identity",
        title="Same thing?",
        summary=" ".join(
            [_weights_sentence(result), *(f"{fact.what.capitalize()}: {fact.matters}" for fact in unfair)]
        ),
        meaning="What both models' files say, read before either was opened. A row that says no does not have to be "
        "wrong, but whatever the page shows below may come from it and not from the weights.",
        caution="Files tell nothing of what a server puts before a prompt, or of how answers are drawn there.",
        tables=[Table(title="Beside the weights", columns=["what", "base", "after", "the same"], rows=rows)],
    )
    return Described(section=section, effects=effects)


def _weights_sentence(result: Identity) -> str:
    if result.problem:
        return "The weights were not compared."
    if not result.changed and not result.unpaired:
        return f"All {result.tensors} tensors hold the same numbers."
    sentence = f"{result.changed} of {result.tensors} tensors changed"
    if rounded := result.changed - result.moved:
        sentence += f", {rounded} of them only by rounding" if result.moved else ", all of them only by rounding"
    if result.unpaired:
        sentence += f"; {result.unpaired} more are in one model only, or of another shape"
    if result.reordered:
        sentence += f" (the neurons of {result.reordered} layers stand in another order, which changes nothing)"
    return f"{sentence}."


IDENTITY = Instrument(
    name="identity",
    result=Identity,
    needs="files",
    measure=measure,
    describe=describe,
    # Reading, and some dozens of products with 16 columns: 12 s for 135 million parameters on a shared core.
    cost=lambda sizes: 5e-8 * sizes.parameters,
    always=True,
)
"""Listed before ``weights``, which looks at what it has read from the files."""
