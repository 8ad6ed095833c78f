"""The yardstick computes what ours computes, bytes are counted as they lie, and the table says what was reached."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import run
from benchmarks.cases import Case, Options
from benchmarks.disk import measure as measure_disk
from benchmarks.extraction import share_of_identical_tokens
from benchmarks.measure import Row, table
from benchmarks.plain_fpt import plain_encoder
from benchmarks.plain_tuning import autocast_loss, lora_tuning
from benchmarks.training_memory import training_bytes
from monai_fpt.networks import FPTClassifier
from monai_fpt.networks.counting import kept_bytes

TINY = Options(backbone="vit_tiny_patch16_224", image_size=64, batch=2, rounds=1)


@pytest.mark.parametrize("method", ["fpt_plus", "fpt"])
def test_the_plain_network_gives_our_loss_and_our_gradients(method: str) -> None:
    case = Case(TINY, method=method)

    difference, gradients = case.largest_gradient_difference(case.stored("float16"))

    assert difference < 1e-6
    assert gradients < 1e-3


def test_the_plain_encoder_keeps_our_tokens() -> None:
    model = FPTClassifier(TINY.config()).eval()
    image = torch.randn(1, 3, 64, 64)

    keys, values, indices = plain_encoder(model)(image)
    features, ours = model.backbone(image)

    assert share_of_identical_tokens(ours, indices.transpose(0, 1), model.backbone.num_all_tokens) == 1
    order, same = indices.transpose(0, 1).argsort(), ours.argsort()
    for own, plain in ((features[:, :, 0], keys), (features[:, :, 1], values)):
        a = own.gather(3, same.unsqueeze(-1).expand_as(own))
        b = plain.transpose(0, 1).gather(3, order.unsqueeze(-1).expand_as(own))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_shares_of_tokens_do_not_depend_on_order() -> None:
    assert share_of_identical_tokens(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[3, 1, 7, 8]]), 9) == 0.5


def test_kept_bytes_are_those_of_different_storages_without_parameters_and_inputs() -> None:
    layer, x = nn.Linear(4, 8), torch.ones(10, 4)

    kept = kept_bytes(lambda: layer(x).exp().sin(), layer, [x])

    assert kept == 10 * 8 * 4  # exp keeps its output, which is what sin keeps as its input


def test_training_bytes_are_kept_state_and_inputs() -> None:
    layer, x = nn.Linear(4, 8), torch.ones(10, 4)

    total = training_bytes(layer, lambda: layer(x).exp().sum(), [x], resident=True)

    steps = 2 * 4  # AdamW counts the steps of weight and bias
    assert total == 10 * 8 * 4 + 4 * 4 * (4 * 8 + 8) + steps + x.nbytes


def test_lora_learns_its_products_and_the_head_only() -> None:
    vit = lora_tuning("vit_tiny_patch16_224", 32, 3, rank=2, depth=2)

    autocast_loss(vit, torch.randn(2, 3, 32, 32), torch.tensor([0, 2])).backward()

    learned = {name for name, p in vit.named_parameters() if p.grad is not None}
    products = {f"blocks.{b}.attn.qkv.{part}.weight" for b in range(2) for part in ("up", "down")}
    assert learned == products | {"head.weight", "head.bias"}


def test_disk_counts_what_is_written() -> None:
    half, codes = measure_disk(Options(image_size=512))

    assert half.ours == pytest.approx((2 * 6 * 12 * 205 * 64 * 2 + 6 * 12 * 205 * 2) / 1e6, abs=1e-4)
    assert codes.plain == pytest.approx(7.557120)


def test_the_table_names_what_misses_its_reach_and_what_wants_a_gpu() -> None:
    text = table([Row("a", 2.0, "ms", 3.0, 1.5, ">= 2 x", False), Row("b", None, "MiB", reach="<= 1 MiB")])

    assert "| a | 3 | 2 | ms | 1.50 | >= 2 x | **no** |  |" in text
    assert "| b |  | wants a GPU | MiB |" in text


def test_one_command_prints_and_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row("bytes", 1.0, "MB")
    monkeypatch.setitem(run.BENCHMARKS, "disk", lambda options: [row])

    assert run.main(["disk", "--json", str(tmp_path / "out.json")]) == 0

    assert "| bytes |  | 1 | MB |" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == [dataclasses.asdict(row)]


def test_an_unknown_benchmark_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["speed"])

    assert "no benchmark is called speed; there are training_memory" in capsys.readouterr().err
