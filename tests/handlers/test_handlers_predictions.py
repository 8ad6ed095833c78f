"""The table of predictions is complete, in order and readable by anything that reads CSV."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toy_training import Toy, samples

from monai_fpt.handlers import FPTPredictionSaver
from monai_fpt.handlers._rows import PredictionRow, dealt_together
from monai_fpt.metrics import FPTPredictions, fpt_weights_sha256


def written(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def saved(saver: FPTPredictionSaver, *batches: list[dict[str, Any]]) -> list[list[str]]:
    """Feed a saver as an evaluator would."""
    saver.started(None)
    for batch in batches:
        saver.iteration_completed(SimpleNamespace(state=SimpleNamespace(output=batch, batch=None)))
    saver.completed(None)
    return written(saver.path)


def sample(key: str, *probabilities: float, **more: Any) -> dict[str, Any]:
    return {"key": key, "pred": torch.tensor(probabilities), **more}


def test_an_evaluation_gives_one_row_for_each_sample_in_order(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    evaluator = toy(tmp_path).evaluator
    FPTPredictionSaver(tmp_path / "new" / "predictions.csv", ["healthy", "ill"]).attach(evaluator)
    evaluator.run()
    head, *rows = written(tmp_path / "new" / "predictions.csv")
    assert head == ["image", "label", "predicted", "healthy", "ill"]
    assert [row[0] for row in rows] == [s["key"] for s in samples(8)]
    assert [row[1] for row in rows] == [["healthy", "ill"][s["label"]] for s in samples(8)]
    for row in rows:
        assert float(row[3]) + float(row[4]) == pytest.approx(1, abs=1e-6)
        assert row[2] == ("ill" if float(row[4]) > float(row[3]) else "healthy")
    evaluator.run()
    assert len(written(tmp_path / "new" / "predictions.csv")) == 9  # not twice


def test_commas_quotes_and_repeated_names_survive(tmp_path: Path) -> None:
    saver = FPTPredictionSaver(tmp_path / "p.csv", ["no, none", 'so "called"'])
    rows = saved(saver, [sample("a,b.png", 0.75, 0.25), sample("a,b.png", 0.25, 0.75)])
    assert rows == [
        ["image", "predicted", "no, none", 'so "called"'],
        ["a,b.png", "no, none", "0.75", "0.25"],
        ["a,b.png", 'so "called"', "0.25", "0.75"],
    ]


def test_unknown_labels_are_empty(tmp_path: Path) -> None:
    saver = FPTPredictionSaver(tmp_path / "p.csv", ["a", "b"])
    rows = saved(saver, [sample("1", 1, 0, label=torch.tensor(1)), sample("2", 1, 0, label=-1), sample("3", 1, 0)])
    assert [row[1] for row in rows] == ["label", "b", "", ""]


def test_findings_are_joined_by_name(tmp_path: Path) -> None:
    saver = FPTPredictionSaver(tmp_path / "p.csv", ["a", "b", "c"], task="multilabel")
    rows = saved(saver, [sample("1", 0.5, 0.4, 0.9, label=torch.tensor([1.0, 1.0, 0.0]))])
    assert rows[1] == ["1", "a;b", "a;c", "0.5", "0.400000006", "0.899999976"]


def test_probabilities_keep_every_digit_of_float32(tmp_path: Path) -> None:
    values = torch.rand(2, generator=torch.Generator().manual_seed(0))
    rows = saved(FPTPredictionSaver(tmp_path / "p.csv", ["a", "b"]), [{"key": "1", "pred": values}])
    assert torch.equal(torch.tensor([float(text) for text in rows[1][2:]]), values)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (sample("x.png", 0.5, 0.3, 0.2), r"x.png has 3 probabilities but there are 2 class names \(a, b\)"),
        (sample("x.png", 0.5, 0.5, label=2), "x.png has the label 2, which does not fit"),
        ({"pred": torch.ones(2)}, "sample 0 has no 'key'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        saved(FPTPredictionSaver(tmp_path / "p.csv", ["a", "b"]), [row])
    assert os.listdir(tmp_path) == []


def test_an_undecollated_output_is_refused(tmp_path: Path) -> None:
    saver = FPTPredictionSaver(tmp_path / "p.csv", ["a", "b"])
    with pytest.raises(ValueError, match="leave decollate at true"):
        saver.iteration_completed(SimpleNamespace(state=SimpleNamespace(output={"pred": torch.ones(2, 2)}, batch=None)))


@pytest.mark.parametrize("classes", [["a", "a"], ["a", "label"]])
def test_class_names_that_clash_are_refused(tmp_path: Path, classes: list[str]) -> None:
    with pytest.raises(ValueError, match="repeat or equal a column"):
        FPTPredictionSaver(tmp_path / "p.csv", classes)


def test_the_parts_of_several_ranks_are_put_in_the_order_of_the_data() -> None:
    rows = [PredictionRow(str(i), (1.0, 0.0), None) for i in range(7)]
    assert dealt_together([rows[0::3], rows[1::3], rows[2::3]]) == rows


# --- what is kept beside the table, for reports


def items(folder: Path, count: int = 8) -> list[dict[str, Any]]:
    """A data list whose files differ, but for the first two."""
    made = []
    for one in samples(count):
        path = folder / "images" / one["key"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"copy" if len(made) < 2 else one["key"].encode())
        made.append({"key": one["key"], "image": str(path), "label": one["label"]})
    return made


def kept(folder: Path, listed: list[dict[str, Any]], network: Any) -> FPTPredictions:
    """What a saver leaves of an evaluation of this network."""
    saver = FPTPredictionSaver(folder / "p.csv", ["healthy", "ill"], items=listed)
    saver.started(None)
    for one in listed:
        row = sample(one["key"], 0.5, 0.5, label=one["label"], logits=torch.zeros(2))
        saver.iteration_completed(SimpleNamespace(state=SimpleNamespace(output=[row], batch=None)))
    saver.completed(SimpleNamespace(network=network))
    return FPTPredictions.load(folder / "p.json")


def test_predictions_say_of_which_weights_and_images_they_are(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    listed = items(tmp_path)
    listed[7]["frame"] = 3
    network = toy(tmp_path).network
    found = kept(tmp_path, listed, network)
    assert found.weights_sha256 == fpt_weights_sha256(network.state_dict())
    hashes = [hashlib.sha256(Path(item["image"]).read_bytes()).hexdigest() for item in listed]
    assert found.contents == (*hashes[:7], f"{hashes[7]}#3") and hashes[0] == hashes[1] != hashes[2]


def test_a_wrapped_network_has_the_weights_of_what_is_inside(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    listed = items(tmp_path)
    network = toy(tmp_path).network
    wrapped = kept(tmp_path, listed, torch.nn.DataParallel(network))
    assert wrapped.weights_sha256 == fpt_weights_sha256(network)


def test_contents_are_unknown_where_a_file_is_gone(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    listed = items(tmp_path)
    Path(listed[3]["image"]).unlink()
    assert kept(tmp_path, listed, toy(tmp_path).network).contents == ()
