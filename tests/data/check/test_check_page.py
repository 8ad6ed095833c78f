"""The report is a table, JSON, and a page that needs nothing beside it and lets nothing of the data act."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from check_toys import ToySet, picture

from monai_fpt.data.check import FPTDataFinding, FPTDataReport
from monai_fpt.data.check.figures import sizes_drawing

VOID = {"meta", "img", "wbr"}
SHAPES = {"line", "circle", "path"}


class Page(HTMLParser):
    """Reads a page, keeps its elements, and insists that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(report: FPTDataReport, folder: Path, *, show_patients: bool = False) -> Page:
    report.save_html(folder / "page.html", show_patients=show_patients)
    return Page((folder / "page.html").read_text(encoding="utf-8"))


HOSTILE = '<script>alert(1)<_script> & "quoted".png'


@pytest.fixture
def spoilt(toy_set: ToySet) -> FPTDataReport:
    """Copies across sections, a torn patient, a hostile name, an unreadable file, several sizes."""
    toy_set.add("test", HOSTILE, picture(0))
    toy_set.add("test", "torn.png", picture(99, 70, 90), group="patient of training2.png")
    toy_set.add("training", "empty.png", b"")
    return toy_set.check()


def test_the_page_is_whole_and_alone(spoilt: FPTDataReport, tmp_path: Path) -> None:
    page = page_of(spoilt, tmp_path)
    used = {tag for tag, _ in page.elements}

    assert not used & {"script", "link", "iframe", "object", "form", "base", "a"}
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not re.search(r"https?:|url\(|@import", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert "prefers-color-scheme: dark" in page.text


def test_the_page_says_it_all(spoilt: FPTDataReport, tmp_path: Path) -> None:
    page = page_of(spoilt, tmp_path)

    assert "Mend before training: 3 errors" in page.text
    assert all(finding.text in page.text for finding in spoilt.findings)
    assert "no picture" in page.text  # of the empty file
    assert len(page.all("img")) == 4
    assert len(page.all("circle")) == len(spoilt.sizes)


def test_names_from_the_data_are_text(spoilt: FPTDataReport, tmp_path: Path) -> None:
    page = page_of(spoilt, tmp_path)

    assert HOSTILE in page.text
    assert "<script" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_classes_are_text_in_the_drawing_too() -> None:
    drawing = sizes_drawing([(640, 480, '"><b>', 3), (800, 600, "b", 1)], ['"><b>', "b"], 512)

    assert '"><b>' not in drawing and "&quot;&gt;&lt;b&gt;" in drawing


def test_patients_are_named_only_when_asked_for(spoilt: FPTDataReport, tmp_path: Path) -> None:
    name = "patient of training2.png"
    spoilt.save_json(tmp_path / "a.json")
    spoilt.save_json(tmp_path / "b.json", show_patients=True)

    assert name not in str(spoilt) and name not in repr(spoilt)
    assert name not in page_of(spoilt, tmp_path).text
    assert name in page_of(spoilt, tmp_path, show_patients=True).text
    assert name not in (tmp_path / "a.json").read_text() and name in (tmp_path / "b.json").read_text()


def test_at_most_twelve_images_a_finding(toy_set: ToySet, tmp_path: Path) -> None:
    for number in range(30):
        pixels = np.full((70, 70, 3), number, np.uint8)
        toy_set.add("training", f"constant{number}.png", pixels, number % 2)
    page = page_of(toy_set.check(), tmp_path)

    assert len(page.all("figure")) == 12
    assert "and 18 more" in page.text


def test_sets_are_shown_whole_or_by_their_first_four(tmp_path: Path, clean_set: ToySet) -> None:
    names = sorted(item["key"] for items in clean_set.sections.values() for item in items)
    sets = (tuple(names[:6]), tuple(names[6:8]), tuple(names[8:20]), tuple(names[20:24]))
    finding = FPTDataFinding("note", "copies", "Copies.", tuple(names[:24]), sets)
    page = page_of(clean_set.check().with_findings((finding,)), tmp_path)

    assert len(page.all("figure")) == 10
    assert "and 14 more" in page.text


def test_json_is_the_report(spoilt: FPTDataReport, tmp_path: Path) -> None:
    spoilt.save_json(tmp_path / "deep" / "report.json")
    content = json.loads((tmp_path / "deep" / "report.json").read_text())

    assert content == json.loads(json.dumps(spoilt.to_dict()))
    assert content["ok"] is False and content["findings"][0]["severity"] == "error"
    assert content["sections"]["training"]["classes"]["a"] == {"images": 13, "patients": 13}
    assert str(tmp_path) not in json.dumps(content)


def test_printed_table(spoilt: FPTDataReport) -> None:
    lines = str(spoilt).splitlines()

    assert [line.split() for line in lines[:4]] == [
        ["class", "training", "validation", "test"],
        ["a", "13", "(13)", "10", "(10)", "12", "(12)"],
        ["b", "12", "(12)", "10", "(10)", "10", "(10)"],
        ["images", "(patients)", "25", "(25)", "20", "(20)", "22", "(22)"],
    ]
    assert lines[-1] == "not ok: 3 errors"
    assert sum(line.startswith("error  ") for line in lines) == 3
    assert any(line.startswith('training images at 64 x 64: --mean "[') for line in lines)


def test_a_page_that_cannot_be_finished_leaves_the_old_one(
    spoilt: FPTDataReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.html").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        spoilt.save_html(tmp_path / "page.html")

    assert (tmp_path / "page.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_finding_of_no_known_severity_is_refused() -> None:
    with pytest.raises(ValueError, match=r"severity is 'fatal'; choose one of"):
        FPTDataFinding("fatal", "x", "X.")


def test_further_findings_are_put_in_order(spoilt: FPTDataReport) -> None:
    more = (FPTDataFinding("note", "x", "X."), FPTDataFinding("error", "y", "Y."))

    assert [f.severity for f in spoilt.with_findings(more).findings] == ["error"] * 4 + ["note"]
