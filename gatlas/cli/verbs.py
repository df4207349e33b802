"""The verbs of the command line: name, options, inputs, and the function that runs each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer

from gatlas.batch.options import Batchable
from gatlas.cli.verb import Verb
from gatlas.config import Options
from gatlas.io.registry import suffixes, written_suffixes

MANY = typer.Argument(
    metavar="INPUT...", help="Files, folders, patterns or tar shards to read; - is standard input.", show_default=False
)
RESULTS = typer.Option(
    "--output",
    "-o",
    metavar="OUTPUT",
    help="FILE; for many DIR/, x.tar, or a name with {stem} or {shard} in it; - is standard output.",
)
OUTPUT = typer.Option("--output", "-o", metavar="OUTPUT", help="File to write; - is standard output.")
SPLATS = written_suffixes("splat")


def _scores(text: str) -> Any:
    return typer.Option("--output", "-o", "--json", metavar="FILE", show_default=False, help=text)


SCORES = _scores("Write all figures as JSON, - to standard output; left out: a table there.")
MANY_SCORES = _scores(
    "Write all figures as JSON, - to standard output; DIR/ or x.tar: a file per object. Left out: a table there."
)


@dataclass(frozen=True)
class ManOptions(Options):
    """Show the manual page of a verb.

    Works wherever gatlas is installed; the pages are also installed for man(1) itself.

    Example: gatlas man fit
    """


@dataclass(frozen=True)
class ScoreOptions(Options):
    """Measure the results of other verbs.

    Each measure has options of its own: gatlas score MEASURE --help shows them.

    Example: gatlas score consistency views/
    """


def _merges(options: Any) -> bool:
    merge: bool = options.merge
    return merge


def _is_gaussianverse(options: Any) -> bool:
    return options.layout == "gaussianverse"


def _is_inline(options: Any) -> bool:
    return bool(options.inline)


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "fit",
            "gatlas.cli.fit:run",
            "gatlas.fit.options:FitOptions",
            inputs=MANY,
            output=RESULTS,
            threads=True,
            batch=Batchable(".ply", suffixes("mesh"), SPLATS, meshes=True, photos=True),
        ),
        Verb(
            "prune",
            "gatlas.cli.prune:run",
            "gatlas.prune.options:PruneOptions",
            inputs=MANY,
            output=RESULTS,
            threads=True,
            batch=Batchable(".ply", suffixes("splat"), SPLATS),
        ),
        Verb(
            "convert",
            "gatlas.cli.convert:run",
            "gatlas.convert.options:ConvertOptions",
            inputs=MANY,
            output=RESULTS,
            batch=Batchable(".ply", suffixes("splat", "atlas"), SPLATS, joins=_merges, chosen="splat"),
        ),
        Verb(
            "atlas-encode",
            "gatlas.cli.atlas_encode:run",
            "gatlas.atlas.options:EncodeOptions",
            inputs=MANY,
            output=RESULTS,
            batch=Batchable(".npz", suffixes("splat"), (".sog",), folder_results=_is_gaussianverse),
        ),
        Verb(
            "atlas-decode",
            "gatlas.cli.atlas_decode:run",
            "gatlas.atlas.options:DecodeOptions",
            inputs=MANY,
            output=RESULTS,
            batch=Batchable(".ply", suffixes("atlas"), SPLATS, folder_results=_is_gaussianverse),
        ),
        Verb(
            "normalize-stats",
            "gatlas.cli.normalize_stats:run",
            "gatlas.atlas.options:StatisticsOptions",
            inputs=typer.Argument(
                metavar="INPUT...",
                help="Atlases: files, folders, patterns, tar shards; - is standard input.",
                show_default=False,
            ),
            output=OUTPUT,
        ),
        Verb(
            "train",
            "gatlas.cli.train:run",
            "gatlas.train.options:TrainCommand",
            inputs=typer.Argument(
                metavar="INPUT...",
                help="Training data: files, folders, patterns or tar shards; see above.",
                show_default=False,
            ),
            output=typer.Option("--output", "-o", metavar="RUN", help="Folder of the run.", show_default=False),
            output_default=None,
            overwrites=False,
        ),
        Verb(
            "sample",
            "gatlas.cli.sample:run",
            "gatlas.systems.options:SampleOptions",
            inputs=typer.Argument(
                metavar="PHOTO...",
                help="Photos of one scene, whose first camera is the world; or folders, a scene each.",
                show_default=False,
            ),
            output=typer.Option(
                "--output", "-o", metavar="OUTPUT", help="x.npz, x.ply, DIR/ or x.tar; - is standard output."
            ),
        ),
        Verb(
            "pose-pnp",
            "gatlas.cli.pose_pnp:run",
            "gatlas.pose.options:PoseOptions",
            inputs=typer.Argument(
                metavar="PHOTO...",
                help="Photos of the scene, or a folder of them with a transforms.json.",
            ),
            output=typer.Option("--output", "-o", metavar="OUTPUT", help="JSON file to write; - is standard output."),
            threads=True,
        ),
        Verb(
            "render",
            "gatlas.cli.render:run",
            "gatlas.render.options:RenderOptions",
            inputs=MANY,
            output=RESULTS,
            threads=True,
            batch=Batchable(
                ".png",
                suffixes("splat", "atlas", "mesh"),
                others=written_suffixes("film", "npz", "page"),
                gathered=written_suffixes("page"),
                gathering=_is_inline,
                may_fill_folder=True,
            ),
        ),
        Verb(
            "mesh",
            "gatlas.cli.mesh:run",
            "gatlas.meshes.options:MeshOptions",
            inputs=MANY,
            output=RESULTS,
            threads=True,
            batch=Batchable(".glb", suffixes("splat", "atlas"), others=(".ply",)),
        ),
        Verb(
            "score",
            "",
            "gatlas.cli.verbs:ScoreOptions",
            parts=(
                Verb(
                    "consistency",
                    "gatlas.cli.score:run_consistency",
                    "gatlas.score.options:ConsistencyOptions",
                    inputs=typer.Argument(
                        metavar="VIEWS...", help="Folders or tars of views; - is a tar on standard input."
                    ),
                    output=SCORES,
                    threads=True,
                ),
                Verb(
                    "fidelity",
                    "gatlas.cli.score_fidelity:run",
                    "gatlas.score.options:FidelityOptions",
                    inputs=MANY,
                    output=MANY_SCORES,
                    threads=True,
                    batch=Batchable(".json", suffixes("splat", "atlas", "mesh"), keyed=True),
                    gathers=True,
                ),
                Verb(
                    "poses",
                    "gatlas.cli.score_poses:run",
                    "gatlas.score.options:PosesOptions",
                    inputs=typer.Argument(
                        metavar="FOUND...", help="Files or folders of found cameras, a scene each; - is standard input."
                    ),
                    output=SCORES,
                ),
                Verb(
                    "distribution",
                    "gatlas.cli.score_distribution:run",
                    "gatlas.score.options:DistributionOptions",
                    inputs=MANY,
                    output=SCORES,
                    threads=True,
                ),
                Verb(
                    "text",
                    "gatlas.cli.score_text:run",
                    "gatlas.score.options:TextOptions",
                    inputs=MANY,
                    output=MANY_SCORES,
                    threads=True,
                    batch=Batchable(".json", suffixes("atlas", "splat"), keyed=True),
                    gathers=True,
                ),
                Verb(
                    "table",
                    "gatlas.cli.score_table:run",
                    "gatlas.score.options:TableOptions",
                    inputs=typer.Argument(metavar="SCORES...", help="JSON files of scores, or folders of them."),
                    inputs_type=list[str],
                    output=SCORES,
                ),
            ),
        ),
        Verb(
            "info",
            "gatlas.cli.inspect:run",
            "gatlas.inspection.options:InspectOptions",
            inputs=typer.Argument(
                metavar="FILE...", help="Files and folders to look at; - is standard input.", show_default=False
            ),
        ),
        Verb(
            "man",
            "gatlas.cli.man:run",
            "gatlas.cli.verbs:ManOptions",
            inputs=typer.Argument(metavar="VERB", help="Verb to read about; left out: gatlas itself."),
            inputs_type=str | None,
        ),
    )
}
