"""What the manual pages say in tables beside the options: named choices, keys of --set, and batches.

Plain text, so that `gatlas man` imports no network; the tests compare it with the classes that it speaks of.
"""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """A key of `train --set`."""

    default: str  # as it would be typed; a preset may say otherwise
    meaning: str


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

TRAINING_KEYS = {
    "steps": Key("1000", "steps of the optimiser"),
    "batch": Key("8", "samples at once, of each process"),
    "accumulate": Key("1", "batches whose gradients are averaged for one step"),
    "lr": Key("0.0001", "learning rate"),
    "schedule": Key("constant", "constant or cosine"),
    "schedule_steps": Key("none", "where the cosine ends; none: at the last step"),
    "lr_end": Key("0.0", "learning rate at the cosine's end"),
    "warmup": Key("100", "steps in which the learning rate rises"),
    "weight_decay": Key("0.01", "of AdamW"),
    "betas": Key("0.9,0.999", "of AdamW"),
    "clip": Key("1.0", "greatest norm of all gradients together; none: no clipping"),
    "ema_decay": Key("0.9999", "of the averaged weights"),
    "ema_power": Key("0.75", "how fast the average grows longer at the start"),
    "seed": Key("0", "of everything random"),
    "gradient_checkpointing": Key("false", "half the memory for a third more time"),
    "checkpoint_every": Key("1000", "steps between checkpoints"),
    "keep": Key("3", "checkpoints to keep, the newest"),
    "sample_every": Key("1000", "steps between pictures; 0: none"),
    "log_every": Key("10", "steps between lines of the log"),
    "diagnose_every": Key("100", "steps between measurements of what the text does; 0: none"),
    "workers": Key("none", "processes that read samples; none: 0 on the CPU, up to 4 beside a GPU"),
    "precision": Key("auto", "auto, fp32 or bf16; auto: bf16 on CUDA"),
}

ATLAS_KEYS = {
    "size": Key("0", "cells a side; 0: that of the statistics"),
    "prediction": Key("v", "what the network predicts, v or epsilon: that of the base"),
    "zero_terminal_snr": Key("true", "the last timestep is pure noise; false with prediction=epsilon"),
    "text_dropout": Key("0.2", "share of samples that are learnt without text"),
    "guidance": Key("3.5", "weight of the text in sampling, where none is asked for"),
    "deviation": Key("pixel", "whitening by the deviation of each pixel, or of each channel"),
    "positions": Key("false", "the cells' places on the sphere as input; from random weights only"),
    "octaves": Key("0", "sines and cosines of those places"),
    "pooled": Key("false", "the whole text in the time embedding; from random weights only"),
    "widths": Key("32,64,128,128", "channels of a network from random weights, level by level"),
    "input_scale": Key("0.5", "of the base's first layer when it is repeated"),
    "diffusion": Key("1.0", "weight of the diffusion loss"),
    "rgb": Key("10.0", "weight of the colours of rendered pictures"),
    "mask": Key("10.0", "weight of their silhouettes"),
    "lpips": Key("10.0", "weight of their LPIPS, which needs --lpips-weights"),
    "render_start": Key("0.05", "share of the steps after which the rendered terms begin"),
    "render_ramp": Key("0.05", "share of the steps over which they grow to their weight"),
    "snr_cap": Key("5.0", "rendered terms count min(SNR, cap) / cap; 0: all timesteps alike"),
    "render_size": Key("128", "pixels a side of those pictures"),
    "render_views": Key("1", "pictures of each object and step"),
}

SCENE_KEYS = {
    "width": Key("256", "pixels of the pictures that the network takes"),
    "height": Key("256", "likewise"),
    "views": Key("2", "photos that a scene is made from"),
    "targets": Key("4", "photos that are rendered and compared"),
    "gap": Key("45,90", "photos from the first to the last of them, least and greatest"),
    "gap_start": Key("25", "both at the first step"),
    "gap_steps": Key("9375", "steps until they are as gap says"),
    "flip": Key("0.5", "share of samples that are mirrored"),
    "max_fov": Key("100.0", "degrees; scenes with wider photos are left out"),
    "mse": Key("1.0", "weight of the colours"),
    "lpips": Key("0.05", "weight of LPIPS, which needs --lpips-weights"),
    "ray": Key("0.0", "weight of each Gaussian's distance from its pixel's ray, at the first step"),
    "ray_steps": Key("0", "steps until it is ray_end"),
    "ray_end": Key("0.0", "that weight in the end"),
    "backbone_lr": Key("0.1", "factor of the learning rate of all but the heads"),
    "patch": Key("16", "pixels a side of a patch"),
    "encoder_dim": Key("1024", "width of the encoder"),
    "encoder_depth": Key("24", "its layers"),
    "encoder_heads": Key("16", "its heads"),
    "decoder_dim": Key("768", "width of the decoder"),
    "decoder_depth": Key("12", "its layers"),
    "decoder_heads": Key("12", "its heads"),
    "mlp_ratio": Key("4", "width of the layers between, in widths"),
    "hooks": Key("0,6,9,12", "layers that the heads read"),
    "head_dim": Key("256", "channels of the heads"),
    "level_dims": Key("96,192,384,768", "channels of their levels"),
    "sh_degree": Key("4", "of the colours that are predicted"),
    "dropout": Key("0.1", "before the last layer of the Gaussian heads"),
    "scale_unit": Key("0.001", "of a Gaussian's size"),
    "scale_max": Key("0.3", "greatest size"),
    "residual": Key("false", "begin at the pixel's own ray and colour"),
    "start_depth": Key("2.0", "depth that it begins at"),
    "start_scale": Key("0.008", "size that it begins at"),
    "start_opacity": Key("0.3", "opacity that it begins at"),
}


def settings_of(keys: dict[str, Key]) -> dict[str, str]:
    """The rows of a table of keys."""
    return {f"{name}={key.default}": key.meaning for name, key in keys.items()}


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
            settings_of(TRAINING_KEYS),
        ),
        "KEYS OF GAUSSIAN-ATLAS": ("For --set, likewise.", settings_of(ATLAS_KEYS)),
        "KEYS OF NOPOSPLAT": ("For --set, likewise.", settings_of(SCENE_KEYS)),
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
                "no caption": "an atlas without one is left out; where none has any, all are learnt without text",
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
