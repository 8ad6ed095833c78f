"""How the machine does while a training runs: processor, memory, disk, network, and the GPUs in use.

The names are those of MLflow's own monitor (``system/...``), which its pages show on a tab of their own. Its monitor is
not used: it sends past the spool, and with a server that is gone its thread blocks the end of the process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import psutil

__all__ = ["SystemSampler"]

SECONDS = 10.0
MEGABYTE = 1e6  # as MLflow counts
INTERVAL_VARIABLE = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"


class SystemSampler:
    """Numbers of now; processor and network since the sample before.

    Args:
        folder: whose disk is looked at.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent()
        self._network = _network()

    @staticmethod
    def interval() -> float:
        """Seconds between two samples, 10 unless MLflow's own variable says otherwise."""
        try:
            return max(0.1, float(os.environ.get(INTERVAL_VARIABLE) or SECONDS))
        except ValueError:
            return SECONDS

    def sample(self) -> dict[str, float]:
        """Name and value of every number."""
        memory = psutil.virtual_memory()
        found = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
            "process_cpu_utilization_percentage": self._process.cpu_percent(),
            "process_memory_megabytes": self._process.memory_info().rss / MEGABYTE,
        }
        if self.folder.exists():
            disk = psutil.disk_usage(str(self.folder))
            found["disk_usage_percentage"] = disk.percent
            found["disk_usage_megabytes"] = disk.used / MEGABYTE
            found["disk_available_megabytes"] = disk.free / MEGABYTE
        before, self._network = self._network, _network()
        found["network_receive_megabytes"] = max(0.0, self._network[0] - before[0])
        found["network_transmit_megabytes"] = max(0.0, self._network[1] - before[1])
        found.update(_gpus())
        return {f"system/{name}": float(value) for name, value in found.items()}


def _network() -> tuple[float, float]:
    try:
        counters = psutil.net_io_counters()
    except (OSError, psutil.Error):  # a container may hide them
        counters = None
    return (counters.bytes_recv / MEGABYTE, counters.bytes_sent / MEGABYTE) if counters else (0.0, 0.0)


def _gpus() -> dict[str, float]:
    """The GPUs on which this process holds memory; asking the others would occupy them."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    found: dict[str, float] = {}
    for index in range(torch.cuda.device_count()):
        if torch.cuda.memory_reserved(index) == 0:
            continue
        free, total = torch.cuda.mem_get_info(index)
        found[f"gpu_{index}_memory_usage_megabytes"] = (total - free) / MEGABYTE
        found[f"gpu_{index}_memory_usage_percentage"] = (total - free) / total * 100
        try:
            found[f"gpu_{index}_utilization_percentage"] = float(torch.cuda.utilization(index))
            found[f"gpu_{index}_power_usage_watts"] = torch.cuda.power_draw(index) / 1000
        except (RuntimeError, ImportError, AttributeError):  # needs NVIDIA's library
            continue
        except Exception:  # that library's own errors, which have no common base that can be named without it
            continue
    return found
