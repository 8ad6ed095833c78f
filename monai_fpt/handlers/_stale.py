"""Runs that say RUNNING though nobody runs them any more.

Only runs of this package are looked at (they carry a heartbeat), only in the experiment that is opened anyway, and only
those whose process is gone by ``owner_gone``. MLflow has no request "end it if ...": the run is therefore read once more
between the judgement and the change. A process that is gone cannot change its run in between, one that ended its run
properly before has done so by then.
"""

from __future__ import annotations

from typing import Any

from monai_fpt.handlers._deliver import STALE
from monai_fpt.handlers._heartbeat import HEARTBEAT, owner_gone, read_heartbeat

__all__ = ["end_stale_runs", "stale_text"]

PAGE = 200


def end_stale_runs(client: Any, experiment_id: str) -> list[str]:
    """Mark runs whose process is gone as KILLED, with the tag ``stale``; they ended with their last heartbeat.

    Args:
        client: an ``MlflowClient``.
        experiment_id: where to look.

    Returns:
        the ids of the runs that were changed.
    """
    ended, token = [], None
    while True:
        page = client.search_runs(
            [experiment_id], "attributes.status = 'RUNNING'", max_results=PAGE, page_token=token or None
        )
        ended += [run.info.run_id for run in page if _end_if_gone(client, run)]
        token = page.token
        if not token:
            return ended


def stale_text(beat: dict[str, Any]) -> str:
    """The words of the tag."""
    return f"process {beat['pid']} on {beat['host']} was gone without ending the run"


def _end_if_gone(client: Any, run: Any) -> bool:
    text = run.data.tags.get(HEARTBEAT)
    beat = read_heartbeat(text)
    if beat is None or not owner_gone(beat):
        return False
    now = client.get_run(run.info.run_id)
    if now.info.status != "RUNNING" or now.data.tags.get(HEARTBEAT) != text:
        return False
    client.set_tag(run.info.run_id, STALE, stale_text(beat))
    client.set_terminated(run.info.run_id, "KILLED", beat["time"])
    return True
