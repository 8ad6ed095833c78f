"""Our numbers against those of the authors' program, and proof that the comparison would notice a wrong variant."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import parity
from monai_fpt.networks import FPTConfig, resample_positions

GOLDENS = Path(__file__).resolve().parents[1] / "data_files" / "goldens"
CASES = ("fpt", "fpt_plus_global", "fpt_plus_class_token")


def golden(case: str) -> Path:
    return GOLDENS / f"{case}.safetensors"


@pytest.mark.parametrize("precision", ["f32", "f64"])
@pytest.mark.parametrize("case", CASES)
def test_tokens_features_logits_losses_and_gradients_are_the_authors(case: str, precision: str) -> None:
    result = parity.compare(golden(case), precision)

    assert result["indices"] == 1.0
    assert set(result) >= {"keys", "values", "prompts", "logits", "loss", "gradients"}
    values, gradients = {"f32": (1e-5, 1e-4), "f64": (1e-9, 1e-8)}[precision]
    too_far = {k: v for k, v in result.items() if k != "indices" and v > (gradients if k == "gradients" else values)}
    assert not too_far
    assert parity.passes(result, precision)


WRONG: dict[str, dict[str, Any]] = {
    "timm's LayerNorm epsilon": {"norm_eps": 1e-6},
    "timm's positions": {"positions": "timm"},
    "CLS not selected": {"prefix_tokens": "drop"},
    "CLS always selected": {"prefix_tokens": "keep"},
    "another importance": {"importance": "class_token"},
    "other blocks": {"blocks": (1, 2)},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_variant_is_beyond_tolerance(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    right = parity.case_config

    def wrong(case: dict[str, Any]) -> FPTConfig:
        return dataclasses.replace(right(case), **change)

    monkeypatch.setattr(parity, "case_config", wrong)

    assert not parity.passes(parity.compare(golden("fpt_plus_global"), "f64"), "f64")


@pytest.mark.parametrize("name", ["indices", "keys", "logits", "loss", "gradients"])
def test_one_number_beyond_its_tolerance_fails_the_whole(name: str) -> None:
    good = {"indices": 1.0, "keys": 0.0, "values": 0.0, "prompts": 0.0, "logits": 0.0, "loss": 0.0, "gradients": 0.0}

    assert parity.passes(good, "f64")
    assert not parity.passes(good | {name: 0.999 if name == "indices" else 1e-7}, "f64")


def test_a_number_that_is_no_number_fails() -> None:
    assert not parity.passes({"indices": 1.0, "logits": float("nan"), "gradients": 0.0}, "f32")


@pytest.mark.parametrize("case", CASES)
def test_positions_are_resampled_as_the_authors_do(case: str) -> None:
    tensors = load_file(golden(case))
    native = tensors["frozen/vit.embeddings.position_embeddings"].double()

    ours = resample_positions(native, (8, 8), (12, 12))

    torch.testing.assert_close(ours, tensors["f64/pos_embed_interpolated"].view_as(ours), rtol=0, atol=1e-12)


def test_the_command_succeeds_on_goldens_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main([str(golden("fpt_plus_global"))]) == 0

    printed = capsys.readouterr().out
    assert "fpt_plus_global f32: indices 100.00 % equal" in printed
    assert "fpt_plus_global f64: indices 100.00 % equal" in printed


def test_the_command_fails_on_other_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(golden("fpt_plus_global"))
    tensors["f64/logits"] = tensors["f64/logits"] + 1e-6
    save_file(tensors, tmp_path / "moved.safetensors")
    (tmp_path / "moved.json").write_text(golden("fpt_plus_global").with_suffix(".json").read_text("utf-8"), "utf-8")

    assert parity.main([str(tmp_path / "moved.safetensors")]) == 1
    assert "moved f64" in capsys.readouterr().out.split("BEYOND TOLERANCE")[0].splitlines()[-1]


def test_the_command_names_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main([str(tmp_path / "nothing.safetensors")]) == 1
    assert "nothing.safetensors" in capsys.readouterr().out


def test_goldens_describe_the_paper_s_two_methods() -> None:
    cases = {case: json.loads(golden(case).with_suffix(".json").read_text("utf-8")) for case in CASES}

    methods = {case: parity.case_config(description).method for case, description in cases.items()}

    assert methods == {"fpt": "fpt", "fpt_plus_global": "fpt_plus", "fpt_plus_class_token": "fpt_plus"}
