"""What a bar of progress writes to a log and to a terminal."""

from __future__ import annotations

import io
import itertools
import sys

import pytest

from monai_fpt._progress import tqdm_bar


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _written(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, progress: bool = True) -> str:
    """2,000 images, as if each took 0.2 s."""
    monkeypatch.setattr(sys, "stderr", stream)
    clock = itertools.count(0, 0.1)
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
    with tqdm_bar(total=2000, desc="Reading", unit="image", progress=progress) as bar:
        for _ in range(2000):
            bar.update()
    return stream.getvalue()


def test_a_log_gets_a_line_now_and_then_and_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _written(monkeypatch, io.StringIO())
    assert "2000/2000" in text
    assert 3 < text.count("\r") < 100


def test_a_terminal_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _written(monkeypatch, _Terminal()).count("\r") > 500


def test_without_progress_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _written(monkeypatch, _Terminal(), progress=False) == ""


def test_it_walks_through_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(tqdm_bar("abc", progress=True)) == ["a", "b", "c"]
