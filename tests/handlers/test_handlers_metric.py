"""One line of configuration gives an engine one score, from a JSON bundle and over several processes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from toy_training import Toy

from monai_fpt.handlers import FPTMetricHandler
from monai_fpt.metrics import FPT_SCORES, classification_scores

GLOO = """
import sys, torch, torch.distributed as dist
from types import SimpleNamespace
from monai_fpt.handlers import FPTMetricHandler, FPTPredictionSaver
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
p = torch.rand(9, 2, generator=torch.Generator().manual_seed(0)); p = p / p.sum(1, keepdim=True)
y = [0, 1, 1, 0, 1, 0, 0, 1, 1]
mine = range(rank, 9, 2)
output = [{"pred": p[i], "label": y[i], "key": str(i)} for i in mine]
metric = FPTMetricHandler("auc"); metric.update(([o["pred"] for o in output], [o["label"] for o in output]))
saver = FPTPredictionSaver(sys.argv[3], ["a", "b"])
saver.iteration_completed(SimpleNamespace(state=SimpleNamespace(output=output, batch=None)))
saver.completed(None)
from sklearn.metrics import roc_auc_score
assert abs(metric.compute() - roc_auc_score(y, p[:, 1])) < 1e-9, metric.compute()
dist.destroy_process_group()
"""


def test_every_score_can_be_written_in_a_config(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    config = {name: {"_target_": "monai_fpt.handlers.FPTMetricHandler", "score": name} for name in FPT_SCORES}
    parser = ConfigParser(config)
    evaluator = toy(tmp_path).evaluator
    for name in FPT_SCORES:
        parser.get_parsed_content(name).attach(evaluator, name)
    pooled: list[dict[str, torch.Tensor]] = []
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: pooled.extend(engine.state.output))
    evaluator.run()
    expected = classification_scores(
        torch.stack([p["pred"] for p in pooled]),
        torch.tensor([p["label"] for p in pooled]),
        task="multiclass",
        logits=torch.stack([p["logits"] for p in pooled]),
    )
    assert evaluator.state.metrics == pytest.approx(expected, abs=1e-9)


def test_an_undefined_key_metric_does_not_stop_a_training(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    run = toy(tmp_path, epochs=1)
    for item in run.evaluator.data_loader.dataset.data:
        item["label"] = 1
    run.trainer.run()
    assert math.isnan(run.evaluator.state.metrics["auc"])
    assert (tmp_path / "model.pt").exists()


def test_an_unknown_score_is_refused() -> None:
    with pytest.raises(ValueError, match="score must be one of"):
        FPTMetricHandler("aucc")


@pytest.mark.slow
def test_two_processes_score_and_save_the_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", GLOO]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meet"), str(tmp_path / "p.csv")]) for rank in (0, 1)
    ]
    assert [process.wait(timeout=280) for process in processes] == [0, 0]
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["image", *map(str, range(9))]
