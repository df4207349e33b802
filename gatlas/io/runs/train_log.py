"""The log, the pictures and the TensorBoard curves of a training run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatlas.io.descriptors import refuse_own_stream
from gatlas.io.json_reader import JsonError, parse_json
from gatlas.io.outputs import append, write
from gatlas.io.streams import os_errors

LOG, LOSS = "log.jsonl", "loss.png"
CURVES, STRIP = "curves.png", "samples.png"


def append_log(run: str | Path, entry: Mapping[str, Any]) -> None:
    """Add one line to the log."""
    path = Path(run) / LOG
    with os_errors(path):
        append(path, [json.dumps(entry, allow_nan=False).encode() + b"\n"], synced=False)


def truncate_log(run: str | Path, step: int) -> list[dict[str, Any]]:
    """Cut the log behind a step, and a line that a killed process left half-written; return the entries that stay."""
    path = Path(run) / LOG
    refuse_own_stream(path)
    text = _text(path)
    entries = [entry for entry in _entries(text) if entry["step"] <= step]
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    if lines != text:
        write(path, [lines.encode()], force=True, suffix=".jsonl", what="a log", text=True)
    return entries


def read_log(run: str | Path) -> list[dict[str, Any]]:
    """Return the entries of the log; a line that is torn is left out."""
    return _entries(_text(Path(run) / LOG))


def _text(path: Path) -> str:
    with os_errors(path):
        return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""


def _entries(text: str) -> list[dict[str, Any]]:
    entries = []
    for line in text.splitlines():
        try:
            entry = parse_json(line)
        except JsonError:
            continue
        if isinstance(entry, dict) and type(entry.get("step")) is int:
            entries.append(entry)
    return entries


def sample_path(run: str | Path, step: int) -> Path:
    """Return the path of the picture of a step; its folder is made."""
    path = Path(run) / "samples" / f"step-{step:06d}.png"
    with os_errors(path):
        path.parent.mkdir(exist_ok=True)
    return path


def list_samples(run: str | Path) -> dict[int, Path]:
    """Return the pictures of samples by their steps, in order."""
    folder = Path(run) / "samples"
    with os_errors(folder):
        paths = sorted(folder.glob("step-*.png"))
    numbers = {path: path.stem.removeprefix("step-") for path in paths}
    return dict(sorted((int(number), path) for path, number in numbers.items() if number.isdecimal()))


class Board:
    """Writer of a run's files for TensorBoard, where that package is installed; else nothing is written."""

    def __init__(self, run: str | Path, step: int) -> None:
        """Open the files; what an earlier process wrote after `step`, the last one of the log, is hidden."""
        self._folder, self._writer = Path(run) / "tensorboard", None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        with os_errors(self._folder):
            self._writer = SummaryWriter(str(self._folder), purge_step=step + 1 if step else None)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write one line of the log as curves."""
        if self._writer is None:
            return
        with os_errors(self._folder):
            for name, value in entry.items():
                if name != "step" and isinstance(value, (int, float)):
                    self._writer.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            with os_errors(self._folder):
                self._writer.close()
