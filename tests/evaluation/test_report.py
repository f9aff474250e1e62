import dataclasses
import re
from html.parser import HTMLParser

import polars as pl

from genre_pipeline.evaluation.report import render_report
from genre_pipeline.evaluation.result import RunFacts

VOID = {"meta", "br", "link", "img", "input", "hr", "line", "circle", "rect"}


class Page(HTMLParser):
    """Checks that tags close in order, and remembers them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_parses_and_every_tag_closes(result):
    page = Page(render_report(result))
    assert page.open == []
    assert [attributes["lang"] for attributes in page.all("html")] == ["en"]
    assert len(page.all("h1")) == 1


def test_hostile_text_is_shown_as_text_everywhere(result):
    text = render_report(result)
    assert "<script" not in text.lower()
    # Data name, note, setting, rejected rule, title and category of a listed item.
    assert text.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;") >= 6


def test_the_page_asks_no_host_and_runs_nothing(result):
    text = render_report(result)
    assert not re.search(r"https?://|url\(|@import|javascript:", text)
    page = Page(text)
    assert all(not {"src", "srcset", "data"} & set(attributes) for _, attributes in page.tags)
    assert all(not name.startswith("on") and name != "style" for _, attributes in page.tags for name in attributes)
    assert all((attributes["href"] or "").startswith("#") for attributes in page.all("a"))


def test_links_lead_somewhere_and_ids_are_unique(result):
    page = Page(render_report(result))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(attributes["href"])[1:] for attributes in page.all("a")} <= set(ids)


def test_tables_are_readable_without_eyes(result):
    page = Page(render_report(result))
    assert len(page.all("table")) == len(page.all("caption")) > 8
    assert all("scope" in attributes for attributes in page.all("th"))
    assert all("role" in attributes or "aria-hidden" in attributes for attributes in page.all("svg") if attributes)


def test_numbers_of_the_result_are_on_the_page(result):
    text = render_report(result)
    for row in result.metrics.filter(pl.col("metric") == "ndcg").rows(named=True):
        assert f"{row['value']:.4f}" in text
    assert "has the highest nDCG of 3 recommenders" in text
    assert "100" in text
    assert "2020-01-01T00:00:00+00:00" in text


def test_losses_are_named(result):
    losing = dataclasses.replace(result, champion="dull")
    found = result.comparisons.with_columns((-pl.col("difference")).alias("difference"))
    text = render_report(dataclasses.replace(losing, comparisons=found))
    assert "is behind" in text
    nothing_lost = dataclasses.replace(
        result,
        comparisons=result.comparisons.with_columns(pl.col("difference").abs()),
        segments=dataclasses.replace(result.segments, against_best=result.segments.against_best.clear()),
    )
    assert "Nowhere in this evaluation" in render_report(nothing_lost)


def test_sections_without_facts_are_left_out(result):
    text = render_report(dataclasses.replace(result, run=RunFacts(), examples=()))
    assert Page(text).open == []
    for gone in ("settings", "cost", "quality", "examples"):
        assert f'id="{gone}"' not in text
        assert f'href="#{gone}"' not in text


def test_same_result_same_bytes(result):
    assert render_report(result) == render_report(result)
