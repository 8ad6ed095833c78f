"""What was evaluated with the weights of before does not lie in the folder of a training that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_fpt.data import FPTDataList
from monai_fpt.features import FPTModelCard
from monai_fpt.handlers import fpt_prepare_run
from monai_fpt.handlers._evaluated import set_aside
from monai_fpt.networks import FPTConfig

CLASSES = ("no", "yes")
OF_WEIGHTS = (
    "calibration.json",
    "report.html",
    "report.json",
    "report_validation.json",
    "test_patients.csv",
    "test_predictions.csv",
    "test_predictions.json",
    "validation_predictions.json",
)


def prepared(run: Path, resume: bool) -> None:
    items = [{"image": f"/{n}.png", "key": f"{n}.png", "label": n, "group": str(n)} for n in range(2)]
    data = FPTDataList(CLASSES, items, [], [])
    card = FPTModelCard(FPTConfig(backbone_weights=None), classes=CLASSES, data_digest=data.digest)
    fpt_prepare_run(run, data, card, resume)


def finished(run: Path) -> Path:
    prepared(run, resume=False)
    for name in (*OF_WEIGHTS, "model.pt", "last.pt", "notes.txt"):
        (run / name).write_text(f"first {name}")
    (run / "evaluation").mkdir()
    (run / "evaluation" / "test_predictions.json").write_text("of its own weights")
    return run


def test_better_weights_set_aside_what_was_evaluated_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(tmp_path / "run")
    set_aside(run)
    assert {path.name for path in run.iterdir()} == {
        "before_resume",
        "data_list.json",
        "evaluation",
        "last.pt",
        "model.json",
        "model.pt",
        "notes.txt",
    }
    assert {path.name: path.read_text() for path in (run / "before_resume").iterdir()} == {
        name: f"first {name}" for name in OF_WEIGHTS
    }
    assert "Predictions and reports of the weights before are now in" in capsys.readouterr().out
    assert (run / "evaluation" / "test_predictions.json").is_file()  # says itself of which weights it is


def test_the_newest_is_kept_and_nothing_to_set_aside_is_no_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tmp_path / "run")
    set_aside(run)
    (run / "calibration.json").write_text("second")
    set_aside(run)
    capsys.readouterr()
    set_aside(run)
    assert (run / "before_resume" / "calibration.json").read_text() == "second"
    assert (run / "before_resume" / "report.html").read_text() == "first report.html"
    assert "are now in" not in capsys.readouterr().out


def test_a_training_that_is_refused_moves_nothing(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    with pytest.raises(FileExistsError, match="holds a training already"):
        prepared(run, resume=False)
    assert (run / "calibration.json").is_file() and not (run / "before_resume").exists()


def test_a_training_that_goes_on_moves_nothing_before_it_has_better_weights(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    prepared(run, resume=True)
    assert (run / "calibration.json").is_file() and not (run / "before_resume").exists()
