"""The command: a table on standard output, a file, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from check_toys import ToySet, picture, save

from monai_fpt.data.check import run_data_check


def run(*arguments: Any, **options: Any) -> int:
    return run_data_check(*arguments, progress=False, image_size=64, **options)


def write_table(toys: ToySet) -> Path:
    rows = [
        f"{item['key']},{'ab'[item['label']]},{section},{item['group']}"
        for section, items in toys.sections.items()
        for item in items
    ]
    path = toys.root / "labels.csv"
    path.write_text("image,label,split,patient\n" + "\n".join(rows) + "\n")
    return path


def test_a_clean_table_is_exit_code_0(toy_set: ToySet, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(toy_set.root, write_table(toy_set), toy_set.root / "report.html")
    printed = capsys.readouterr().out

    assert code == 0
    assert "ok: no findings\n" in printed and printed.endswith("report.html\n")
    assert (toy_set.root / "report.html").read_text().startswith("<!doctype html>")


def test_what_building_refuses_becomes_a_finding(toy_set: ToySet, capsys: pytest.CaptureFixture[str]) -> None:
    toy_set.add("test", "torn.png", picture(99), group="patient of training0.png")
    toy_set.add("test", "empty.png", b"")
    code = run(toy_set.root, write_table(toy_set), toy_set.root / "report.json")
    content = json.loads((toy_set.root / "report.json").read_text())

    assert code == 1 and "not ok: 2 errors" in capsys.readouterr().out
    assert [f["check"] for f in content["findings"]] == ["unreadable", "patients_across_sections"]


def test_what_building_warns_of_becomes_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(40):
        save(tmp_path / "train" / "ab"[seed % 2] / f"{seed}.png", picture(seed))
    for seed in range(40, 60):
        save(tmp_path / "val" / "ab"[seed % 2] / f"{seed}.png", picture(seed))
    for seed in range(60, 80):
        save(tmp_path / "test" / "a" / f"{seed}.png", picture(seed))
    save(tmp_path / "train" / "stray.png", picture(99))
    code = run(tmp_path)
    printed = " ".join(capsys.readouterr().out.split())

    assert code == 0
    assert "warning Section test has no image of class 'b'" in printed
    assert "note data list: 1 image(s) beside the class folders" in printed
    assert printed.endswith("ok: 1 warning, 2 notes")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"data_list": "absent.csv"}, "there is no table"),
        ({"data_list": "labels.csv", "list_options": {"label_column": "grade"}}, "no column"),
        ({"data_list": "labels.csv", "list_options": {"classes": ["a", "c"]}}, "label 'b' is not in classes"),
        ({"data_list": "labels.csv", "list_options": {"klasses": []}}, "there is no option ['klasses']"),
        ({"data_list": "labels.csv", "image_size": 0}, "image_size is 0"),
        ({"data_list": "labels.csv", "output": "report.pdf"}, "ends neither in .html nor in .json"),
    ],
    ids=["no table", "no column", "unknown class", "unknown option", "no size", "unknown output"],
)
def test_what_cannot_be_checked_is_one_sentence(
    options: dict[str, Any],
    reason: str,
    toy_set: ToySet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_table(toy_set)
    monkeypatch.chdir(toy_set.root)
    code = run_data_check(toy_set.root, progress=False, **options)
    captured = capsys.readouterr()

    assert code == 1 and "class " not in captured.out
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and reason in captured.err


def test_a_report_that_cannot_be_written_is_said(toy_set: ToySet, capsys: pytest.CaptureFixture[str]) -> None:
    (toy_set.root / "file").write_text("")
    code = run(toy_set.root, write_table(toy_set), toy_set.root / "file" / "report.html")

    assert code == 1 and "could not be written" in capsys.readouterr().err


def test_a_real_shortcut(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In these chest X-rays all projections ap, and none pa, are 524 or 519 pixels high: its labels.csv says so."""
    code = run(real_data / "cxr_ap_pa")
    printed = " ".join(capsys.readouterr().out.split())

    assert code == 0
    assert "'ap' and 'pa' can be told apart by image size alone (balanced accuracy 1.00" in printed
    assert "- 640 x 524: 95 % of ap, 0 % of pa" in printed


def test_real_photographs_raise_no_alarm(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(real_data / "derm_isic2017_256px")

    assert code == 0 and capsys.readouterr().out.endswith("ok: 1 note\n")
