"""The page: whole, safe, small, and the same for the same record."""

import base64
import builtins
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from armillary.records import RunRecord
from armillary.report.html import render_html
from armillary.report.interactive import script_safe, scripts, specification

Make = Callable[..., RunRecord]


class Page(HTMLParser):
    """What a browser would see: tags, scripts, texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.policy = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem is None:
            self.words.append(data)


@pytest.fixture(scope="module", autouse=True)
def fresh_bundle() -> Iterator[None]:
    yield
    scripts.cache_clear()


def test_everything_of_the_record_is_on_the_page(make_record: Make) -> None:
    page = " ".join(Page(render_html(make_record())).words)
    for words in ("What this shows", "Where it can mislead", "first plain words", "✓ holds", "✕ fails", "? undecided",
                  "0.123", "0.600 to 0.800", "3 min 25 s", "1 July 2026, 10:00 UTC", "In the paper"):  # fmt: skip
        assert words in page, words
    assert page.index("first plain words") < page.index("second plain words")


def test_hostile_words_stay_words(make_record: Make, hostile: str) -> None:
    harmless = Page(render_html(make_record(interactive=True)))
    html = render_html(make_record(hostile, interactive=True))
    page = Page(html)
    assert [
        tag for tag, _ in page.tags if tag not in ("svg", "g", "path", "use", "text", "clippath", "defs", "rect")
    ] == [
        tag for tag, _ in harmless.tags if tag not in ("svg", "g", "path", "use", "text", "clippath", "defs", "rect")
    ]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert not any((attributes.get("href") or "").startswith("javascript") for _, attributes in page.tags)
    assert not {"\x00", "\u202e", "\u2028", "\ud800"} & set(html)
    assert "<script>alert(1)</script>" in " ".join(page.words)
    assert "7*7" in " ".join(page.words) and "49}" not in html


def test_scripts_are_named_by_checksum_and_nothing_may_be_fetched(make_record: Make) -> None:
    page = Page(render_html(make_record(interactive=True)))
    code = [script for script in page.scripts if not script.startswith("{")]
    assert len(code) == 3
    for script in code:
        checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{checksum}'" in page.policy
    assert "default-src 'none'" in page.policy
    assert not any(attributes.get("src") for tag, attributes in page.tags if tag in ("script", "img", "iframe"))
    assert not any(tag == "link" for tag, _ in page.tags)


def test_ids_are_unique_and_links_lead_somewhere(make_record: Make) -> None:
    page = Page(render_html(make_record(interactive=True)))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(attributes.get("href") or "")[1:] for tag, attributes in page.tags
               if (attributes.get("href") or "").startswith("#")}  # fmt: skip
    assert targets <= set(ids)
    images = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(images) == 7
    assert all(set((attributes["aria-labelledby"] or "").split()) <= set(ids) for attributes in images)


def test_a_page_without_interactive_figures_is_small(make_record: Make) -> None:
    still, lively = render_html(make_record()), render_html(make_record(interactive=True))
    assert len(still) < 150_000 and "vegaEmbed" not in still
    assert len(lively) > 500_000
    assert lively.count('class="lively"') == 2
    assert lively.count("window.vegaEmbed") == 1


@pytest.mark.parametrize("missing", ["vl_convert", "altair"])
def test_without_the_extra_packages_the_still_images_remain(
    make_record: Make, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == missing:
            raise ImportError(name)
        return real(name, *rest)

    scripts.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    assert render_html(make_record(interactive=True)).count("<figure") == 8
    assert "vegaEmbed" not in render_html(make_record(interactive=True))
    scripts.cache_clear()


def test_the_same_record_gives_the_same_page(make_record: Make) -> None:
    assert render_html(make_record(interactive=True)) == render_html(make_record(interactive=True))
    again = RunRecord.from_dict(make_record().to_dict())
    assert render_html(again) == render_html(make_record())


def test_an_empty_record_and_two_models(make_record: Make) -> None:
    empty = RunRecord(kind="k", title="t", config={}, models={}, seed=0, started="", seconds=0.0)
    assert "<h1>t</h1>" in render_html(empty)
    two = replace(make_record(), models={"model": {"name": "a"}, "before": {"name": "b", "layers": 2}})
    assert re.search(r'aria-label="Models".*before.*layers', render_html(two), re.DOTALL)


def test_only_web_addresses_become_links(make_record: Make) -> None:
    links = [attributes["href"] for tag, attributes in Page(render_html(make_record())).tags if tag == "a"]
    assert "https://example.org/a?b=1&c=2" in links
    assert all(link and (link.startswith(("#", "https://"))) for link in links)


def test_script_data_holds_no_html(hostile: str) -> None:
    text = script_safe({hostile: [hostile, "]]>", "\u2029"]})
    assert not set("<>&\u2028\u2029") & set(text)


def test_only_what_answers_to_pointing_has_a_specification(make_figures: Callable[[str, bool], list[Any]]) -> None:
    lively = [specification(figure) is not None for figure in make_figures("w", True)]
    assert lively == [True, False, False, True, False, False, False, False]
    assert [specification(figure) for figure in make_figures("w", False)] == [None] * 8


def test_the_bundle_cannot_end_its_element() -> None:
    bundle = scripts()
    assert bundle is not None
    assert "</script" not in bundle.lower() and "<!--" not in bundle and "\r" not in bundle


def test_labelled_findings_come_before_the_facts_of_the_models(make_record: Make) -> None:
    record = make_record()
    lines = [replace(finding, label="not seen", basis="floor 0.02") for finding in record.findings]
    two = replace(record, findings=lines, models={"base": {"name": "old"}, "after": {"name": "new", "layers": 2}})
    html = render_html(two)
    assert html.count('<span class="label not-seen">not seen</span>') == 2 and ">floor 0.02<" in html
    assert html.index("What changed") < html.index('aria-label="Models"')
    assert "<b>base</b> old" in html and "What changed" not in render_html(record)


def test_a_folded_section_shows_its_summary_alone(make_record: Make) -> None:
    record = make_record()
    folded = render_html(replace(record, sections=[replace(record.sections[0], folded=True)]))
    assert '<details class="fold">' in folded and '<details class="fold">' not in render_html(record)
    assert folded.index('class="summary"') < folded.index('<details class="fold">') < folded.index("<figure")
