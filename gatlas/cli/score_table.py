"""gatlas score table"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas import __version__, io
from gatlas.cli.score_batch import read_document, read_documents
from gatlas.cli.score_output import check_score_outputs, give_document, show_table
from gatlas.errors import GatlasError
from gatlas.io.outputs import show
from gatlas.score.documents import merge_documents
from gatlas.score.published import compare_runs
from gatlas.score.tables import runs_table

if TYPE_CHECKING:
    from gatlas.score.options import TableOptions


def run(inputs: list[str], output: str, options: TableOptions, *, force: bool, given: frozenset[str]) -> None:
    """Show one run in full, or several side by side."""
    out = output if "output" in given else None
    check_score_outputs(out, options.plot, force=force)
    runs = [_read_run(name) for name in inputs]
    if options.merge or len(runs) == 1:
        files = {name: document for run in runs for name, document in run.items()}
        document = merge_documents(files) if len(files) > 1 else next(iter(files.values()))
        give_document(document, out, options.plot, force=force)
        return
    if options.plot is not None:
        raise GatlasError("--plot is of one run: name one file or folder, or give --merge")
    if out is not None and Path(out).resolve() in [Path(name).resolve() for name in inputs]:
        raise GatlasError(f"{out}: is one of the runs, whose scores the rows would replace: name another output")
    documents = {}
    for name, files in zip(_run_names(inputs), runs, strict=True):
        documents[name] = merge_documents(files) if len(files) > 1 else next(iter(files.values()))
    rows = compare_runs(documents, claimed=not options.measured_only)
    if out is not None:
        io.save_json(out, {"version": __version__, "runs": rows}, force=force)
        return
    for number, (score, held) in enumerate(rows.items()):
        if number:
            show("\n")
        show_table(runs_table(score, held))


def _read_run(name: str) -> dict[str, dict[str, Any]]:
    """Return the documents of a run by the paths of their files."""
    found = read_documents(Path(name)) if io.is_folder(name) else {name: read_document(name)}
    if not found:
        raise GatlasError(f"{name}: has no scores in it: none of its files is .json")
    return found


def _run_names(inputs: list[str]) -> list[str]:
    """Return the names of the runs: of the files, or whole paths where two have one name."""
    names = [Path(name).stem if not io.is_folder(name) else Path(name).resolve().name for name in inputs]
    return names if len(set(names)) == len(names) else list(inputs)
