"""Predictions and calibrations say of which weights and which images they are, whatever file the weights lie in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchmetrics.functional.classification import binary_calibration_error

from monai_fpt.metrics import FPTCalibration, FPTPredictions, fit_calibration, fpt_weights_sha256
from monai_fpt.metrics.calibration_error import fpt_calibration_error
from monai_fpt.metrics.weighted import weighted_calibration_error


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def predictions(name: str = "image", **changes: object) -> FPTPredictions:
    random = np.random.default_rng(0)
    names = tuple(f"{name}{number}" for number in range(60))
    labels = random.integers(0, 2, 60)
    made = FPTPredictions(names, names, labels, random.normal(size=(60, 2)) + np.eye(2)[labels], ("no", "yes"))
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_the_container_does_not_matter(tmp_path: Path) -> None:
    made = network()
    state = made.state_dict()
    torch.save(state, tmp_path / "model.pt")
    save_file(dict(reversed(state.items())), tmp_path / "adapter.safetensors")
    torch.save(
        {name: value.bfloat16().float() for name, value in state.items() if value.is_floating_point()},
        tmp_path / "b.pt",
    )
    digest = fpt_weights_sha256(made)
    assert len(digest) == 64
    assert fpt_weights_sha256(torch.load(tmp_path / "model.pt", weights_only=True)) == digest
    assert fpt_weights_sha256(load_file(tmp_path / "adapter.safetensors")) == digest
    rounded = torch.load(tmp_path / "b.pt", weights_only=True)
    assert fpt_weights_sha256(rounded) == fpt_weights_sha256({k: v.bfloat16() for k, v in rounded.items()})


@pytest.mark.parametrize("change", ["value", "name", "shape", "absent", "counter"])
def test_other_weights_have_another_digest(change: str) -> None:
    state = dict(network().state_dict())
    digest = fpt_weights_sha256(state)
    if change == "value":
        state["0.bias"] = torch.nextafter(state["0.bias"], torch.tensor(9.0))
    elif change == "name":
        state["0.b"] = state.pop("0.bias")
    elif change == "shape":
        state["0.bias"] = state["0.bias"].reshape(2, 1)
    elif change == "absent":
        del state["0.bias"]
    else:
        state["1.num_batches_tracked"] = state["1.num_batches_tracked"] + 1
    assert fpt_weights_sha256(state) != digest


def test_predictions_and_what_is_fitted_on_them_keep_their_weights_and_images(tmp_path: Path) -> None:
    made = predictions(weights_sha256="ab" * 32, contents=tuple(map(str, range(60))))
    made.save(tmp_path / "p.json")
    loaded = FPTPredictions.load(tmp_path / "p.json")
    assert (loaded.weights_sha256, loaded.contents) == (made.weights_sha256, made.contents)
    part = loaded.subset([5, 3])
    assert (part.weights_sha256, part.contents) == ("ab" * 32, ("5", "3"))
    fit_calibration(loaded).save(tmp_path / "c.json")
    fitted = FPTCalibration.load(tmp_path / "c.json")
    assert fitted.weights_sha256 == "ab" * 32
    assert (fitted.keys_digest, fitted.contents_digest) == (made.keys_digest, made.contents_digest)


def test_files_of_older_versions_do_not_know(tmp_path: Path) -> None:
    predictions(weights_sha256="ab" * 32, contents=("x",) * 60).save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    del content["weights_sha256"], content["contents"]
    (tmp_path / "p.json").write_text(json.dumps(content | {"version": 1}))
    loaded = FPTPredictions.load(tmp_path / "p.json")
    assert (loaded.weights_sha256, loaded.contents, loaded.contents_digest) == ("", (), "")
    fit_calibration(loaded).save(tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text())
    del content["weights_sha256"], content["keys_digest"], content["contents_digest"]
    (tmp_path / "c.json").write_text(json.dumps(content | {"version": 1}))
    assert FPTCalibration.load(tmp_path / "c.json").weights_sha256 == ""


def test_a_calibration_refuses_predictions_of_other_weights() -> None:
    fitted = fit_calibration(predictions(weights_sha256="ab" * 32))
    fitted.require_fit(predictions(weights_sha256="ab" * 32), None)
    with pytest.raises(
        ValueError, match=r"fitted for the weights abababababab but the predictions are of cdcdcdcdcdcd"
    ):
        fitted.require_fit(predictions(weights_sha256="cd" * 32), None)


def test_a_calibration_knows_its_images_whatever_the_logits_or_the_names_are() -> None:
    contents = tuple(f"content {number}" for number in range(60))
    named, full = fit_calibration(predictions()), fit_calibration(predictions(contents=contents))
    other_logits = np.zeros((60, 2))
    assert named.same_images(predictions(logits=other_logits))
    assert full.same_images(predictions("renamed", logits=other_logits, contents=contents[::-1]))
    assert not full.same_images(predictions(contents=tuple(f"other {number}" for number in range(60))))
    assert not named.same_images(predictions("other", logits=other_logits))


def test_contents_are_of_all_images_or_of_none() -> None:
    with pytest.raises(ValueError, match="facts and contents have the lengths"):
        predictions(contents=("one",))


@pytest.mark.parametrize("edge", range(16))
@pytest.mark.parametrize("side", [-1.0, 0.0, 1.0], ids=["below", "at", "above"])
def test_the_error_and_its_resamples_agree_to_the_last_bit_of_a_bin_s_edge(edge: int, side: float) -> None:
    for at in {float(torch.linspace(0, 1, 16, dtype=torch.float64)[edge]), float(np.linspace(0, 1, 16)[edge])}:
        value = float(np.clip(np.nextafter(at, at + side), 0, 1))
        confidences, right = np.array([value, 0.5, min(at + 0.03, 1), max(at - 0.03, 0)]), np.array([1, 0, 1, 0])
        expected = float(binary_calibration_error(torch.tensor(confidences), torch.tensor(right), n_bins=15))
        ours = weighted_calibration_error(confidences, right.astype(bool), np.ones((1, 4)))[0]
        assert ours == pytest.approx(expected, abs=1e-12)
        both = np.stack([1 - confidences, confidences], axis=1)
        assert fpt_calibration_error(both, right, task="multiclass") == pytest.approx(expected, abs=1e-12)


def test_the_error_is_that_of_float64_whatever_comes_in() -> None:
    p = torch.rand(200, generator=torch.Generator().manual_seed(0))
    both, labels = torch.stack([1 - p, p], dim=1), (p > 0.4).long()
    expected = float(binary_calibration_error(p.double(), labels, n_bins=15))
    assert fpt_calibration_error(both, labels, task="multiclass") == pytest.approx(expected, abs=1e-12)
