"""Text of the manual pages: each verb's --help in man(7) layout, with tables and examples."""

from __future__ import annotations

import re
from typing import Any

from gatlas import __version__
from gatlas.cli.manual_tables import fragment, sections

DATE = "2026-11-30"  # of the last change of the pages

EXIT_STATUS = {
    "0": "done",
    "1": "failed; one line on standard error says which file, what is wrong and what to do",
    "2": "wrong usage",
    "3": "a batch finished and some objects failed; the manifest lists them with the reasons",
    "75": "stopped by a signal or a time limit after saving: run the same command to resume",
    "130, 143": "ended by SIGINT or SIGTERM; nothing half-written is left",
    "141": "the reader of standard output closed the pipe",
}

ENVIRONMENT = {
    "GATLAS_CACHE": "cache of layouts, frames and cameras; default $XDG_CACHE_HOME/gatlas, else ~/.cache/gatlas",
    "NUMBA_CACHE_DIR": "cache folder of compiled kernels, if the installed package is read-only",
    "SLURM_ARRAY_TASK_ID": "inside a Slurm array a-b:step, with its _MIN, _MAX, _COUNT and _STEP: the shard of a batch",
    "CUDA_VISIBLE_DEVICES": "GPUs shared by the workers of --jobs",
    "TORCH_EXTENSIONS_DIR": "folder of gsplat's kernels, which the first use of a GPU builds with nvcc of torch's CUDA "
    "version; python -m gatlas.cli.build_gsplat builds them beforehand",
    "OMP_WAIT_POLICY": "how idle threads of torch wait; default PASSIVE, they sleep",
    "NUMBA_NUM_THREADS": "maximum number of threads of the kernels; default all available processors",
}

FILES = {
    "splat PLY": "the 3DGS layout (x y z, f_dc_*, opacity as a logit, scale_* as logs, rot_* wxyz), binary little-"
    "endian, Y down as viewers expect; comments hold the name, center and scale of the source",
    "atlas NPZ": "float32 planes offset, color, opacity, scale, rotation and a JSON string meta",
    "statistics NPZ": "float64 mean and m2 of every pixel and channel, count, and float32 std for other programs",
    "tar shard": "key.ply, key.npz, key.txt ... in WebDataset naming, read and written as a file or a stream",
    "manifest": "manifest-I-of-N.jsonl in a batch's folder, x.manifest.jsonl next to x.tar: one line per object",
    "model folder": "a diffusers pipeline with gatlas.json and stats.npz: data and safetensors only, never code",
    "views folder": "RGBA PNGs with a transforms.json in the NeRF/Blender convention. render and fit --views-out write "
    "cameras of a mesh in the unit ball, like the splat; cameras of photos that a scene was fitted to are in the "
    "photos' own units, see --own-units of pose-pnp",
}

COMPLETION = {  # typer's own options, whose wording changes with its version
    "install_completion": "Install completion for the current shell.",
    "show_completion": "Print the completion of the current shell, to copy or change it.",
}

EXAMPLES = {
    "gatlas": [
        ("From a mesh to an atlas:", "set -o pipefail\ngatlas fit obj.glb | gatlas atlas-encode -o obj.npz"),
        (
            "And back to a picture of it from eight sides:",
            "gatlas atlas-decode obj.npz | gatlas render --orbit 8 -o obj.png",
        ),
    ],
    "fit": [
        ("Photos with known cameras:", "gatlas fit photos/ -o scene.ply"),
        (
            "A fit that can be interrupted and resumed by the same command:",
            "gatlas fit obj.glb --resume fit.npz -o obj.ply",
        ),
        ("A splat that any viewer opens:", "gatlas fit obj.glb -o obj.ply"),
        (
            "A quick fit, with its quality in a report:",
            "gatlas fit obj.glb --profile quick --report obj.json -o obj.ply",
        ),
        ("Every mesh of a folder, two at a time; the same command resumes:", "gatlas fit meshes/ --jobs 2 -o splats/"),
        (
            "The shard of a Slurm array task, in one tar; interrupted fits resume:",
            "gatlas fit meshes/ --resume 'saved/{stem}.npz' -o 'splats-{shard}.tar'",
        ),
        ("Keep the training views:", "gatlas fit obj.glb --views-out obj-views -o obj.ply"),
    ],
    "prune": [("Keep 4,096 Gaussians, sampled by visibility:", "gatlas prune obj.ply -n 4096 -o small.ply")],
    "convert": [
        ("The file of another program, as a small one for the web:", "gatlas convert scan.ply -o scan.sog"),
        ("A folder to SPZ:", "gatlas convert splats/ -o 'spz/{stem}.spz'"),
        (
            "Two splats beside each other:",
            "gatlas convert a.ply --translate 2,0,0 | gatlas convert - b.ply --merge -o both.glb",
        ),
        (
            "What is near the middle, of a file whose vertical axis is z:",
            "gatlas convert scan.ply --up z --crop sphere:0,0,0,1.5 --drop-invalid -o part.ply",
        ),
    ],
    "info": [
        ("The content of a file, and faults with their remedies:", "gatlas info scan.ply"),
        ("As a check in a script:", "gatlas info --check splats/*.ply"),
        ("For other programs:", "gatlas info --json obj.npz stats.npz"),
    ],
    "atlas-encode": [
        ("One atlas of 128 x 128 cells:", "gatlas atlas-encode obj.ply -o obj.npz"),
        (
            "A smaller atlas, directly from a fit:",
            "gatlas fit obj.glb -n 4096 | gatlas atlas-encode --size 64 -o s.npz",
        ),
        (
            "Many, through tar streams:",
            "gatlas fit *.glb --tar | gatlas atlas-encode --tar | gatlas normalize-stats -o stats.npz",
        ),
    ],
    "normalize-stats": [
        ("Over a folder, or shards:", "gatlas normalize-stats atlases/ -o stats.npz"),
        ("Merged statistics of parts of a set:", "gatlas normalize-stats --merge part-*.npz -o stats.npz"),
    ],
    "train": [
        (
            "A small model from random weights, on a CPU:",
            "gatlas train atlases/ --stats stats.npz --captions captions.csv --preset small -o run",
        ),
        (
            "Fine-tune a text-to-image model on eight GPUs, in a job that may be requeued:",
            "torchrun --nproc-per-node 8 -m gatlas train atlases-{00000..00099}.tar --stats stats.npz \\\n"
            "    --captions captions.csv --base stable-diffusion/ --lpips-weights vgg16-397923af.pth \\\n"
            "    --processes 8 --resume latest -o run",
        ),
        (
            "The same from a base that predicts the noise (epsilon), and without LPIPS:",
            "gatlas train atlases/ --stats stats.npz --captions captions.csv --base stable-diffusion-v1-5/ \\\n"
            "    --set prediction=epsilon --set zero_terminal_snr=false --set lpips=0 -o run",
        ),
        (
            "More steps than first requested, with a constant learning rate:",
            "gatlas train atlases/ --captions captions.csv --resume latest --steps 20000 -o run",
        ),
    ],
    "sample": [
        (
            "One object, to a splat:",
            'gatlas sample --model run --prompt "a red cube" -o cube.ply',
        ),
        ("Four samples per prompt of a file:", "gatlas sample --model run --prompts prompts.txt -n 4 -o samples/"),
    ],
    "atlas-decode": [("Back to a splat:", "gatlas atlas-decode obj.npz -o obj.ply")],
    "render": [
        ("A contact sheet from eight sides:", "gatlas render obj.ply --orbit 8 -o obj.png"),
        ("A folder that other tools read:", "gatlas render obj.glb --orbit 36 --width 800 -o obj-views/"),
        ("One such folder per object:", "gatlas render splats/ --orbit 36 -o 'views/{stem}/'"),
        ("The same cameras again:", "gatlas render obj.ply --camera obj-views/transforms.json -o obj.png"),
    ],
    "mesh": [
        ("A mesh with a texture of what a splat shows:", "gatlas mesh chair.ply -o chair.glb"),
        ("From a sampled atlas, through pipes:", "gatlas atlas-decode chair.npz | gatlas mesh -o chair.glb"),
        (
            "Fewer triangles and a smaller texture, measured against the source:",
            "gatlas mesh obj.ply --triangles 5000 --texture 512 --reference obj.glb --report obj.json -o mesh.glb",
        ),
        ("Vertex colors, for programs that read no texture:", "gatlas mesh chair.ply --texture 0 -o chair.glb"),
        ("One mesh per splat of a folder; the same command resumes:", "gatlas mesh splats/ -o meshes/"),
    ],
    "pose-pnp": [
        ("The camera of a photo in a scene:", "gatlas pose-pnp photo.png --scene scene.ply --fov 47 -o poses.json"),
        (
            "Render the scene from there:",
            "gatlas render scene.ply --camera poses.json -o same-view.png",
        ),
        (
            "Refine noisy cameras of the photos that the scene was fitted to:",
            "gatlas pose-pnp --init photos/transforms.json --scene scene.ply --own-units -o refined.json",
        ),
        (
            "A scene from two unposed photos, and their cameras:",
            "gatlas sample --model re10k.ckpt a.png b.png --fov 55 -o scene.ply\n"
            "gatlas pose-pnp a.png b.png --scene scene.ply --fov 55 -o poses.json",
        ),
    ],
    "score": [
        ("How well fits look like their meshes:", "gatlas score fidelity fits/ --reference 'meshes/{stem}.glb'"),
        ("How well views agree on one object:", "gatlas score consistency views/"),
    ],
    "score-consistency": [
        ("Sampled views, beside the true ones:", "gatlas score consistency views/ --reference true-views/"),
        ("Every folder in a folder, with all figures as JSON:", "gatlas score consistency sets/ --json scores.json"),
        ("In a pipe:", "tar -c views/ | gatlas score consistency --measure epipolar"),
    ],
    "score-fidelity": [
        ("One fit and its mesh:", "gatlas score fidelity bunny.ply --reference bunny.glb"),
        (
            "A folder of fits in shards, put together:",
            "gatlas score fidelity fits/ --reference 'meshes/{stem}.glb' -o scores/ --shard 0/8\n"
            "gatlas score table scores/ --json all.json",
        ),
        ("Photos that a fit held out:", "gatlas score fidelity room.ply --reference room/ --held-out"),
    ],
    "score-poses": [
        ("Cameras that were found for photos:", "gatlas score poses poses.json --truth photos/transforms.json"),
        (
            "Cameras that fit found of photos without any, which have a world of their own:",
            "gatlas score poses my-cameras/ --truth photos/transforms.json --align similarity",
        ),
        (
            "Pairs of unposed photos, a scene each:",
            "gatlas score poses found/*.json --truth 'true/{stem}.json' --unscaled",
        ),
    ],
    "score-distribution": [
        (
            "Samples against the training set:",
            "gatlas score distribution samples/ --reference 'set-{000000..000007}.tar'",
        ),
        (
            "With FID, KID and CLIP-FID:",
            "gatlas score distribution samples/ --reference objects/ --inception inception.pth --clip clip/",
        ),
    ],
    "score-text": [
        ("CLIP score and R-precision:", "gatlas score text samples/ --prompts captions.json --clip clip/"),
        ("Without weights:", "gatlas score text samples/ --prompts captions.json --against objects/"),
    ],
    "score-table": [
        ("Two runs side by side:", "gatlas score table first.json second.json"),
        ("The files of shards as one run:", "gatlas score table part-*.json --merge --plot histograms.png"),
    ],
    "man": [("Show the page of a verb:", "gatlas man fit")],
}


def pages(group: Any) -> dict[str, str]:
    """Return the text of each page by its name (`gatlas`, `gatlas-fit`, ...), for the command line as a click group."""
    commands: dict[str, Any] = group.commands
    result = {"gatlas": _page("gatlas", group, commands)}
    for name, command in commands.items():
        result[f"gatlas-{name}"] = _page(f"gatlas-{name}", command, commands)
        for part, each in getattr(command, "commands", {}).items():
            result[f"gatlas-{name}-{part}"] = _page(f"gatlas-{name}-{part}", each, commands, f"gatlas {name} {part}")
    return result


def _page(name: str, command: Any, commands: dict[str, Any], called: str = "") -> str:
    called = called or name.replace("-", " ", 1)
    summary, *body = _paragraphs(command.help or "")
    parts = [
        f'.TH {_text(name.upper())} 1 "{DATE}" "gatlas {__version__}" "gatlas manual"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(fragment(summary))}",
        ".SH SYNOPSIS",
        *_synopsis(called, command),
        ".SH DESCRIPTION",
        _text(summary),
    ]
    for paragraph in body:
        if not paragraph.startswith("Example:"):
            parts += [".PP", _text(paragraph)]
    if hasattr(command, "commands"):
        parts.append(".SH VERBS" if name == "gatlas" else ".SH MEASURES")
        for verb, each in command.commands.items():
            parts += [".TP", f".BR {_text(f'{name}-{verb}')} (1)", _text(_paragraphs(each.help)[0])]
    parts.append(".SH OPTIONS")
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            parts += [".TP", _term(parameter), _text(_description(parameter))]
    parts += [".TP", "\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "Show the options and exit."]
    tables = sections(name.removeprefix("gatlas-"))
    tables |= {"EXIT STATUS": ("", EXIT_STATUS), "ENVIRONMENT": ("", ENVIRONMENT), "FILES": ("", FILES)}
    for title, (above, table) in tables.items():
        parts.append(f".SH {title}")
        if above:
            parts.append(_text(above))
        for term, meaning in table.items():
            parts += [".TP", f".B {_text(term)}", _text(meaning)]
    parts.append(".SH EXAMPLES")
    for caption, code in EXAMPLES[name.removeprefix("gatlas-")]:
        parts += [_text(caption), ".PP", ".nf", ".RS 4", _text(code), ".RE", ".fi", ".PP"]
    parts.pop()
    parts.append(".SH SEE ALSO")
    others = [page for page in ("gatlas", *(f"gatlas-{verb}" for verb in commands)) if page != name]
    parts += [f".BR {_text(page)} (1){',' if page != others[-1] else ''}" for page in others]
    return "\n".join(parts) + "\n"


def _synopsis(called: str, command: Any) -> list[str]:
    if called == "gatlas":
        return [".B gatlas", ".I VERB", "[\\fIINPUT\\fR] [\\fB\\-o\\fR \\fIOUTPUT\\fR] [\\fIoptions\\fR]"]
    if hasattr(command, "commands"):
        return [f".B {_text(called)}", ".I MEASURE", "[\\fIINPUT...\\fR] [\\fIoptions\\fR]"]
    words = []
    for parameter in sorted(command.params, key=lambda each: each.param_type_name):  # arguments first
        if parameter.param_type_name == "argument":
            metavar = f"\\fI{_text(parameter.metavar)}\\fR"
            words.append(metavar if parameter.required else f"[{metavar}]")
        elif parameter.required:
            words.append(f"\\fB{_text(min(parameter.opts, key=len))}\\fR \\fI{_text(parameter.metavar)}\\fR")
    return [f".B {_text(called)}", " ".join([*words, "[\\fIoptions\\fR]"])]


def _term(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"\\fI{_text(parameter.metavar)}\\fR"
    flags = [*sorted(parameter.opts, key=len), *parameter.secondary_opts]
    names = ", ".join(f"\\fB{_text(option)}\\fR" for option in flags)
    if parameter.is_flag:
        return names
    return f"{names} \\fI{_text(parameter.metavar)}\\fR"


def _description(parameter: Any) -> str:
    parts = [COMPLETION.get(parameter.name) or parameter.help or ""]
    if parameter.required:
        parts.append("Required.")
    ranged = getattr(parameter, "type", parameter)  # older typers keep the range in the type
    least, most = getattr(ranged, "min", None), getattr(ranged, "max", None)
    if least is not None and most is not None:
        parts.append(f"From {least:g} to {most:g}.")
    elif least is not None:
        parts.append(f"At least {least:g}.")
    default = parameter.default
    shown = parameter.show_default is not False and default is not None and not getattr(parameter, "is_flag", False)
    if shown and not parameter.required:
        parts.append(f"Default: {getattr(default, 'value', default)}.")
    return " ".join(filter(None, parts))


def _paragraphs(text: str) -> list[str]:
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text.strip())]


def _text(text: str) -> str:
    """Roff-safe: backslashes and hyphens escaped, no line that begins with a control character."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in escaped.split("\n"))
