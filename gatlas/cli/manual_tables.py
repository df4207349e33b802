"""Tables of the manual pages beside the options: named choices, keys of --set, and batches.

Nothing here imports a network, so that `gatlas man` answers at once.
"""

from __future__ import annotations

from gatlas.config import Options, settings_table
from gatlas.systems.gaussian_atlas.config import AtlasConfig
from gatlas.systems.noposplat.config import Settings
from gatlas.train.options import TrainOptions

BATCHES = {
    "INPUT...": "files, folders (with the folders in them), patterns in quotes, tar shards, ranges such as "
    "'set-{00000..00009}.tar', or a list with --files-from. More than one make a batch, as does an OUTPUT for many",
    "-o DIR/": "a result of each object, called after it, and a manifest with a line an object",
    "-o x.tar": "all results in one tar shard, with the captions of the objects",
    "-o 'any/{stem}-name.ply'": "{stem} stands for the object's name; with render, 'views/{stem}/' is a folder of "
    "pictures and cameras of each object, where DIR/ is a contact sheet of each",
    "{shard}": "in OUTPUT, the number of the shard, five digits; 'part-{shard}.tar' is a tar of each",
    "--tar, or many inputs without OUTPUT": "a tar stream on standard output, which the next verb reads",
    "--report, --preview, --resume, --views-out": "need {stem} in their names, so that each object has its own",
    "running again": "objects whose result is whole, and of the same input and options, are left as they are; a "
    "changed input is made anew (in a tar, which cannot lose a member, it is refused); results of other options are "
    "refused before any work; --force makes all anew",
    "objects that fail": "do not stop the batch: the manifest says why, the exit status is 3; --retry-failed tries "
    "them again",
    "--timeout": "is for a batch only, as only a worker of one can be given up",
    "Slurm": "inside an array a task takes its shard of the inputs by itself; a tar that is named alone, or comes "
    "through a pipe, is taken whole unless --shard is given",
}

STREAMS = {
    "standard input": "is read where INPUT is left out or is -; its first bytes tell what it is",
    "standard output": "takes the result where OUTPUT is left out or is -. Where it is a terminal, a binary result is "
    "written into a file in the current folder instead, which is called after the input (obj.ply, obj.npz, obj.png; "
    "gatlas.tar for many) and whose path is printed",
    "standard error": "takes everything else: progress, warnings, summaries",
}

PRESETS = {
    "small": "gaussian-atlas, the choice without --base: 1200 steps of 8, learning rate 0.003 down a cosine, a network "
    "of 5.9 M parameters from random weights; minutes on a laptop's CPU with atlases of 32 x 32 cells, hours with 128 "
    "x 128",
    "finetune": "gaussian-atlas, the choice with --base: 1000000 steps of 8 a process, learning rate 5e-05, with "
    "rendered terms in the loss, of which LPIPS needs --lpips-weights FILE, or --set lpips=0",
    "paper": "gaussian-atlas: as finetune, with the rendered terms unweighted and without a ramp, as published",
    "tiny": "noposplat, the choice without --base: 1000 steps of 4, learning rate 0.001, pictures of 64 x 64; minutes "
    "on a CPU",
    "re10k": "noposplat, the choice with --base: 18751 steps of 16 a process, learning rate 0.0002, the published "
    "numbers for pretrained weights",
    "base": "noposplat: 300001 steps of 8 a process, learning rate 0.0001, the published size from random weights",
}


def fragment(sentence: str) -> str:
    """Return a sentence as it stands beside a term: with a small first letter and without the full stop."""
    first, rest = sentence[:1], sentence[1:].rstrip(".")
    return (first if rest[:1].isupper() or first.isdigit() else first.lower()) + rest


def key_table(options: type[Options]) -> dict[str, str]:
    """Return the rows of a table of the keys of `train --set`."""
    return {key: fragment(help) for key, help in settings_table(options).items()}


# Sections of a verb's page that stand before EXIT STATUS: title -> (what stands above the table, the table).
Section = tuple[str, dict[str, str]]
_BATCHES: Section = ("This verb takes one object or many.", BATCHES)
SECTIONS: dict[str, dict[str, Section]] = {
    "gatlas": {"STREAMS": ("", STREAMS)},
    "fit": {"BATCHES": _BATCHES},
    "prune": {"BATCHES": _BATCHES},
    "atlas-encode": {"BATCHES": _BATCHES},
    "atlas-decode": {"BATCHES": _BATCHES},
    "render": {"BATCHES": _BATCHES},
    "train": {
        "PRESETS": ("What --preset names, and the system that it is of.", PRESETS),
        "KEYS OF THE TRAINING": (
            "For --set, with the value that holds where neither the preset nor an option of that name says another.",
            key_table(TrainOptions),
        ),
        "KEYS OF GAUSSIAN-ATLAS": ("For --set, likewise.", key_table(AtlasConfig)),
        "KEYS OF NOPOSPLAT": ("For --set, likewise.", key_table(Settings)),
        "CAPTIONS": (
            "",
            {
                "a file": "with --captions: a CSV uid,caption with or without a header, a JSON map from id to text, a "
                "JSON list of records, or JSON lines; columns and fields may be called uid, id, obj_id, object_id, "
                "key, name or model_id, and caption, captions, text, prompt, description or 3dtopia",
                "an id": "is the name of the atlas's file without its suffix: chair, chair.glb and set/chair are "
                "chair.npz; an id that fits two atlases alike is given to neither, and said",
                "beside the atlas": "key.txt, or key.json with a caption, next to key.npz in a folder or a tar",
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
