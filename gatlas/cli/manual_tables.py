"""Tables of the manual pages beside the options: named choices, keys of --set, and batches.

Nothing here imports a network, so that `gatlas man` answers at once.
"""

from __future__ import annotations

from gatlas.config import Options, settings_table
from gatlas.systems import SYSTEMS, config_class, default_preset, system_module
from gatlas.train.options import TrainOptions

BATCHES = {
    "INPUT...": "files, folders (with the folders in them), patterns in quotes, tar shards, ranges such as "
    "'set-{00000..00009}.tar', or a list with --files-from. More than one make a batch, as does an OUTPUT for many",
    "-o DIR/": "one result per object, named after it, and a manifest with one line per object",
    "-o x.tar": "all results in one tar shard, with the captions of the objects",
    "-o 'any/{stem}-name.ply'": "{stem} stands for the object's name; with render, 'views/{stem}/' is a folder of "
    "pictures and cameras of each object, where DIR/ is a contact sheet of each",
    "{shard}": "in OUTPUT, the number of the shard, five digits; 'part-{shard}.tar' is a tar of each",
    "--tar, or many inputs without OUTPUT": "a tar stream on standard output, which the next verb reads",
    "--report, --preview, --resume, --views-out": "need {stem} in their names, so that each object has its own",
    "resuming": "objects with a complete result of the same input and options are skipped; a changed input is done "
    "again (in a tar, which cannot lose a member, it is refused); results of other options are refused before any "
    "work; --force starts over",
    "objects that fail": "do not stop the batch: the manifest has the reason, the exit status is 3; --retry-failed "
    "tries them again",
    "--timeout": "applies to batches only: it kills the worker of the object",
    "Slurm": "inside an array a task takes its shard of the inputs by itself; a tar that is named alone, or comes "
    "through a pipe, is processed whole unless --shard is given",
}

STREAMS = {
    "standard input": "is read where INPUT is left out or is -; its format is detected from the first bytes",
    "standard output": "takes the result where OUTPUT is left out or is -. Where it is a terminal, a binary result is "
    "written into a file in the current folder instead, which is called after the input (obj.ply, obj.npz, obj.png; "
    "gatlas.tar for many) and whose path is printed",
    "standard error": "takes everything else: progress, warnings, summaries",
    "/dev/stdout, /dev/fd/N, a named pipe, the file that a stream is redirected to": "as OUTPUT or another output are "
    "written into behind what is there, and never replaced; /dev/stdin and /dev/fd/N as INPUT are read like -",
}


def fragment(sentence: str) -> str:
    """Return a sentence as it stands beside a term: with a small first letter and without the full stop."""
    first, rest = sentence[:1], sentence[1:].rstrip(".")
    return (first if rest[:1].isupper() or first.isdigit() else first.lower()) + rest


Section = tuple[str, dict[str, str]]  # the text above a table, and the table


def system_sections() -> dict[str, Section]:
    """Return the sections about training: the presets of each system, the keys of the loop and of each system."""
    presets: dict[str, Section] = {}
    keys = {
        "KEYS OF THE TRAINING": (
            "For --set, with the value that holds unless the preset or an option of that name has another.",
            _key_table(TrainOptions),
        )
    }
    for name in SYSTEMS:
        module = system_module(name)
        title = name.upper()
        presets[f"PRESETS OF {title}"] = f"--system {name} {module.TRAINING}", _preset_table(name)
        config = config_class(module)
        keys[f"KEYS OF {title}"] = "For --set, likewise.", _key_table(config)
    return presets | keys


def _preset_table(system: str) -> dict[str, str]:
    fresh, tuned = (default_preset(system, with_base=each) for each in (False, True))
    defaults = {tuned: "the default with --base: ", fresh: "the default without --base: "}
    if fresh == tuned:
        defaults = {fresh: "the default: "}
    rows = {}
    for name, preset in system_module(system).PRESETS.items():
        options = TrainOptions(**preset.training)
        numbers = f"{options.steps} steps, batch size {options.batch} per process, learning rate {options.lr}"
        rows[name] = f"{defaults.get(name, '')}{numbers}; {preset.help}".rstrip("; ")
    return rows


def _key_table(options: type[Options]) -> dict[str, str]:
    return {key: fragment(help) for key, help in settings_table(options).items()}


def sections(page: str) -> dict[str, Section]:
    """Return the sections of a verb's page that stand before EXIT STATUS, by title."""
    return (system_sections() if page == "train" else {}) | SECTIONS.get(page, {})


_BATCHES: Section = ("This verb takes one object or many.", BATCHES)
SECTIONS: dict[str, dict[str, Section]] = {
    "gatlas": {"STREAMS": ("", STREAMS)},
    "fit": {"BATCHES": _BATCHES},
    "prune": {"BATCHES": _BATCHES},
    "atlas-encode": {"BATCHES": _BATCHES},
    "atlas-decode": {"BATCHES": _BATCHES},
    "render": {"BATCHES": _BATCHES},
    "mesh": {"BATCHES": _BATCHES},
    "train": {
        "CAPTIONS": (
            "",
            {
                "a file": "with --captions: a CSV uid,caption with or without a header, a JSON map from id to text, a "
                "JSON list of records, or JSON lines; columns and fields may be called uid, id, obj_id, object_id, "
                "key, name or model_id, and caption, captions, text, prompt, description or 3dtopia",
                "an id": "is the name of the atlas's file without its suffix: chair, chair.glb and set/chair are "
                "chair.npz; an id that matches two atlases is used for neither, and reported",
                "next to the atlas": "key.txt, or key.json with a caption, next to key.npz in a folder or a tar",
                "several captions": "of one object, in several lines or as a list: each step draws one",
                "no caption": "an atlas without one is left out; where none has any, all are learned without text",
            },
        ),
        "PICTURES": (
            "",
            {
                "--views DIR": "holds DIR/KEY/transforms.json and RGBA pictures for each atlas KEY.npz, as gatlas fit "
                "--views-out 'DIR/{stem}' writes them; without it the rendered loss compares with renders of the "
                "atlas itself",
            },
        ),
    },
}
