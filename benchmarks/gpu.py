"""What only a GPU can tell: the allocator's peak and the process's memory in training, and times there.

Without a GPU the rows are printed as wanted. Process memory is what the device lost since before the CUDA context, so
nobody else should use it meanwhile.
"""

from __future__ import annotations

import torch

from benchmarks import compile, extraction, processes, resident, training_step
from benchmarks.cases import Case, Options
from benchmarks.measure import MIB, Row

__all__ = ["measure"]

_REACHES = (
    ("GPU allocator peak in training", "MiB", "<= 160 MiB", 160.0),
    ("GPU memory of the process", "MB", "<= 600 MB", 600.0),
)


def measure(options: Options) -> list[Row]:
    if not torch.cuda.is_available():
        wanted = [Row(what, None, unit, reach=reach) for what, unit, reach, _ in _REACHES]
        more = [
            Row("training step FPT+ on a GPU", None, "ms"),
            Row("extraction on a GPU, bfloat16", None, "GPU-ms/image", reach=">= 5 x"),
            Row("reading, features resident, on a GPU", None, "ms/image"),
            Row("epoch, features resident, on a GPU", None, "ms/image"),
            Row("training step FPT+, compiled, inductor, on a GPU", None, "ms"),
            Row("training step FPT+, compiled, CUDA graphs, on a GPU", None, "ms"),
            Row("extraction by one process a GPU", None, "wall ms/image"),
        ]
        return wanted + more
    on_gpu = Options(**{**vars(options), "device": "cuda"})
    rows = _memory(on_gpu)
    measured = [part.measure(on_gpu) for part in (training_step, extraction, resident, compile, processes)]
    for row in (row for found in measured for row in found):
        rows.append(Row(**{**vars(row), "what": f"{row.what}, on a GPU"}))
    return rows


def _memory(options: Options) -> list[Row]:
    case = Case(Options(**{**vars(options), "device": "cpu"}), recompute=True)
    half, model = case.stored("float16"), case.model
    model.fusion.to("cuda"), model.side.to("cuda")
    image, labels = case.image.to("cuda"), case.labels.to("cuda")
    features = half.to("cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run = training_step.step(model, lambda: torch.nn.functional.cross_entropy(model(image, features), labels))
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    figures = (torch.cuda.max_memory_allocated() / MIB, (total - free) / 1e6)
    return [
        Row(what, figure, unit, reach=reach, reached=figure <= most, note="float16 features, recomputed")
        for (what, unit, reach, most), figure in zip(_REACHES, figures, strict=True)
    ]
