"""What beside the weights makes a comparison unfair; and nothing where nothing does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from armillary.diff.identity import Identity, describe, identity
from armillary.diff.pair import Origin
from armillary.diff.where.changes import WeightChanges, weight_changes
from armillary.diff.where.tensors import tensors_of
from armillary.models import tiny


def saved(folder: Path) -> Path:
    made = tiny()
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


def compared(base: Path, after: Path) -> Identity:
    origins = [Origin(name=folder.name, folder=folder) for folder in (base, after)]
    return identity(origins[0], origins[1], WeightChanges())


def setting(name: str, value: object, file: str = "config.json") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**data, name: value}))

    return change


def template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")


def tokens(folder: Path) -> None:
    made = tiny()
    made.tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    made.tokenizer.save_pretrained(folder)


CHANGES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "nothing": (lambda folder: None, set()),
    "another version": (setting("transformers_version", "4.0.0"), set()),
    "rope": (setting("rope_parameters", {"rope_theta": 77.0, "rope_type": "default"}), {"settings"}),
    "a layer less": (setting("num_hidden_layers", 1), set()),
    "template": (template, {"template"}),
    "a token more": (tokens, set()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_told_and_nothing_else(name: str, tmp_path: Path) -> None:
    change, wanted = CHANGES[name]
    base = saved(tmp_path / "base")
    after = Path(shutil.copytree(base, tmp_path / "after"))
    change(after)
    result = compared(base, after)
    assert {fact.what for fact in result.facts if fact.matters and not fact.same} == wanted
    effects = describe(result).effects
    assert len(effects) == bool(wanted) and all(what in effects[0].sentence for what in wanted)
    if name == "a token more":
        (fact,) = (fact for fact in result.facts if fact.what == "tokens")
        assert not fact.same and "1 of its own" in fact.after
    if name == "rope":
        (fact,) = (fact for fact in result.facts if fact.what == "settings")
        assert "rope_parameters.rope_theta 77" in fact.after and "rope_theta 10000" in fact.base


def test_models_of_other_families_and_ready_ones() -> None:
    first, second = Origin(name="tiny-llama", ready=tiny()), Origin(name="tiny-gpt2")
    with tensors_of(first) as a, tensors_of(second) as b:
        result = identity(first, second, weight_changes(a, b, ("a", "b")))
    assert result.unpaired and "in one model only" in describe(result).section.summary
    assert any(fact.what == "settings" and not fact.same for fact in result.facts)
    same = identity(first, Origin(name="tiny-llama", ready=tiny()), WeightChanges())
    assert describe(same).effects == [] and all(fact.same for fact in same.facts)


def test_an_adapter_names_its_base(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for stated, same in (("tiny-llama", True), ("some/other", False)):
        (folder / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "base_model_name_or_path": stated})
        )
        result = identity(Origin(name="tiny-llama"), Origin(name="adapter", folder=folder), WeightChanges())
        (fact,) = (fact for fact in result.facts if fact.what == "base that the adapter names")
        assert fact.same == same and bool(fact.matters) != same
