"""Pin what the command line does, so that a refactoring can be held against it.

    python tests/pins.py record FOLDER           run everything once and write what came of it into FOLDER
    python tests/pins.py compare BEFORE AFTER    print every difference; the exit status is 1 where there is one

It runs `python -m gatlas` of whichever gatlas is importable (PYTHONPATH decides), on the CPU, a few minutes for all of
`RUNS`: small fits, atlases, trainings and poses that follow from `examples/rocket.glb` alone, and mistakes that must be
said in the same words. A FOLDER gets

- `help/`: the help of gatlas and of every verb;
- `man/`: the manual pages;
- `outputs.json`: a SHA-256 of every file that a run wrote or changed, and of what it wrote to standard output as bytes;
- `reports/`: the JSON files among them as text, a folder for each run by its number in `RUNS`;
- `manifests.json`: what the manifests of batches say of each object, sorted, as batches end in any order;
- `stdout_stderr.json`: exit status, standard error and textual standard output of each run.

Times, versions and paths of the temporary folder are masked. Archives are hashed by the content of their members, as
they hold times. Two records of one gatlas on one machine are equal; those of two machines need not be, since their
processors round differently.
"""

import difflib
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

ROCKET = Path(__file__).parents[1] / "examples" / "rocket.glb"
VERBS = [
    "fit",
    "prune",
    "atlas-encode",
    "atlas-decode",
    "normalize-stats",
    "train",
    "sample",
    "pose-pnp",
    "render",
    "mesh",
    "man",
]

FIT = "--device cpu --threads 2 --seed 0 --lambda-lpips 0"
SMALL = f"-n 256 --iterations 20 --views 6 --resolution 64 {FIT}"
TRAIN = "--device cpu --seed 0 --batch 2 --sample-every 2 --log-every 1 --set diagnose_every=2 --set ema_decay=0.9"
ATLAS_NET = f"{TRAIN} --stats stats.npz --preset small --set widths=32,32"
SCENE_NET = (
    f"{TRAIN} --system noposplat --preset tiny --set encoder_dim=32 --set encoder_depth=1 --set encoder_heads=2 "
    "--set decoder_dim=32 --set decoder_depth=3 --set decoder_heads=2 --set hooks=0,1,2,3 --set head_dim=16 "
    "--set level_dims=4,8,8,8 --set width=32 --set height=32"
)
SAMPLE = "--steps 3 --device cpu --seed 0"
POSE = "views/images/000.png views/images/001.png --scene big.ply --fov 47 --threads 2"

# Each line is what follows `gatlas`, run in one folder in this order; `< FILE` at its end is its standard input.
RUNS = f"""
fit rocket.glb {SMALL} --report fit.json --views-out photos -o a.ply
fit rocket.glb {SMALL} --denormalize --model scaffold --profile quick -o scaffold.ply
fit rocket.glb -n 2048 --iterations 60 --views 16 --resolution 128 {FIT} -o big.ply
fit photos -n 128 --iterations 20 --init hull {FIT} --report photos.json -o c.ply
fit photos -n 128 --iterations 20 {FIT} --resume state.npz --time-limit 0 -o stopped.ply
fit photos -n 128 --iterations 20 {FIT} --resume state.npz -o stopped.ply
fit rocket.glb pyramid.obj -n 64 --iterations 5 --views 4 --resolution 32 {FIT} --jobs 2 -o fits/
prune big.ply -n 100 --views 8 --resolution 64 --report prune.json -o b.ply
prune a.ply -n 100 --finetune 5 --views 8 --resolution 64 --device cpu --report tuned.json -o d.ply
prune -n 100 --score opacity --min-opacity 0.2 --reference rocket.glb --views 4 --resolution 32 < a.ply
prune a.ply -n 100 --score visibility-max --views 4 --resolution 32 --report best.json -o e.ply
prune a.ply b.ply c.ply broken.ply -n 50 --views 4 --resolution 32 --jobs 2 -o pruned.tar
prune a.ply b.ply -n 50 --score volume --tar
atlas-encode a.ply --size 16 --report encode.json -o a.npz
atlas-encode c.ply --size 16 --projection octahedral --fill split --check -o octahedral.npz
atlas-encode --size 16 --solver emd < a.ply
atlas-encode a.ply --size 16 --layout gaussianverse -o verse/
atlas-encode a.ply b.ply c.ply d.ply big.ply --size 16 --jobs 2 --dry-run -o atlases/
atlas-encode a.ply b.ply c.ply d.ply broken.ply --size 16 --jobs 2 -o atlases/
atlas-encode a.ply b.ply c.ply d.ply big.ply --size 16 --jobs 2 -o atlases/
atlas-encode a.ply b.ply c.ply d.ply --size 16 --shard 1/2 -o x.tar
atlas-encode a.ply b.ply c.ply --size 16 -o named/{{stem}}-16.npz
atlas-encode verse/point_cloud.ply --gs2sphere verse/gs2sphere.npy --sphere2plane verse/sphere2plane.npy -o kept.npz
atlas-decode a.npz --check --report decode.json -o decoded.ply
atlas-decode < octahedral.npz
atlas-decode atlases -o decoded.tar
atlas-decode pruned.tar -o wrong/
render a.ply --width 64 -o single.png
render a.ply --orbit 4 --width 48 --elevation 40 --azimuth 30 --background black
render a.ply --orbit 3 --width 48 --height 32 -o turn/
render rocket.glb --width 64 --supersample 2 --shading headlight --up z --background #204060 -o mesh.png
render a.npz -o planes.png
render a.ply --camera photos/transforms.json -o again.png
render a.ply b.ply rocket.glb --width 32 --jobs 2 -o pictures/
render big.ply --orbit 6 --width 256 -o views/
render rocket.glb --orbit 6 --width 256 -o seen/
normalize-stats atlases --report odd.json -o stats.npz
normalize-stats a.npz kept.npz -o part.npz
normalize-stats named -o part.npz
normalize-stats stats.npz part.npz --merge -o merged.npz
train atlases {ATLAS_NET} --captions captions.csv --steps 4 --checkpoint-every 2 -o run
train atlases --captions captions.csv --steps 5 --resume latest --device cpu -o run
train atlases {ATLAS_NET} --steps 2 --set rgb=1 --set mask=1 --set render_size=16 --set render_start=0 -o rendered
train atlases {ATLAS_NET} --steps 4 --time-limit 0 -o halted
sample --model run --prompt "a rocket" {SAMPLE} -o sampled.npz
sample --model run --prompts prompts.txt {SAMPLE} --guidance 2 -o samples/
sample --model run --prompts prompts.txt {SAMPLE} --scheduler ddim -o samples.tar
sample --model rendered {SAMPLE} -n 2 --scheduler euler -o plain/
sample --model rendered {SAMPLE} -o plain.ply
train scenes {SCENE_NET} --steps 4 --checkpoint-every 2 -o scene-run
sample --model scene-run scenes/one/images/000.png scenes/one/images/001.png --fov 47 --views saw -o scene.ply
sample --model scene-run --convert converted
pose-pnp scenes/one/images/000.png scenes/one/images/001.png --scene scene.ply --fov 47 --min-inliers 4 -o grid.json
pose-pnp {POSE} -o poses.json
pose-pnp {POSE} --refine none --ground-truth views/transforms.json --candidates views/transforms.json -o unrefined.json
pose-pnp {POSE} --init poses.json --focal -o refined.json
pose-pnp views/images/000.png --scene big.ply --fov 47 --matches matches.npz -o matched.json
pose-pnp seen/images/000.png --intrinsics seen/transforms.json --background white --views 20 --threads 2 --scene big.ply
pose-pnp photos --scene a.ply --refine none --views 8 -o few.json
man
man fit
--version
nothing
fit
fit none.glb -o none.ply
fit rocket.glb {SMALL} -o a.ply
fit photos {SMALL} --init surface -o out.ply
fit rocket.glb {SMALL} --init hull -o out.ply
fit rocket.glb -n 0
fit rocket.glb --time-limit 5 -o out.ply
fit rocket.glb -o out.ply --shading flat
fit rocket.glb pyramid.obj -o out.ply
fit a.ply -o out.ply
prune rocket.glb -o out.ply
prune a.npz -o out.ply
prune a.ply verse/../a.ply -n 50 --score opacity -o twice/
prune a.ply other/a.ply -o equal/
prune a.ply none.ply -o out/
prune a.ply b.ply --shard 3/2 -o out/
prune a.ply b.ply --report out.json -o out/
prune a.ply b.ply --files-from prompts.txt -o out/
prune a.ply --reference none -n 9 -o out.ply
atlas-encode a.ply --size 1
atlas-encode a.ply --gs2sphere verse/gs2sphere.npy -o out.npz
atlas-encode a.ply --size 16 -o a.npz
atlas-encode a.npz -o out.npz
atlas-encode *.nothing -o out/
atlas-decode a.ply -o out.ply
normalize-stats a.npz octahedral.npz -o out.npz
normalize-stats a.npz --merge -o out.npz
render a.ply --background blueish -o out.png
render a.ply --camera none.json -o out.png
render a.ply -o out.jpg2
train atlases -o fresh
train none --stats stats.npz -o fresh
train atlases --stats stats.npz --preset large -o fresh
train atlases --stats stats.npz --set widht=3 -o fresh
train atlases --stats stats.npz --set steps=many -o fresh
train atlases --stats stats.npz --steps 3 --set steps=4 -o fresh
train atlases --stats stats.npz --system gaussian -o fresh
train atlases {ATLAS_NET} --steps 4 -o run
train atlases --steps 9 --lr 1 --resume latest --device cpu -o run
train atlases --stats stats.npz --captions none.csv -o fresh
train photos --system noposplat --stats stats.npz -o fresh
sample --model none --prompt x
sample --model run -o out.npz
sample --model run --prompt x --fov 40 -o out.npz
sample --model run --prompt x -n 2 -o out.npz
sample --model run --prompt x --prompts prompts.txt -o out.png
sample --model rendered --prompt x -o out.npz
sample --model scene-run scenes/one/images/000.png --fov 40 -o out.ply
sample --model scene-run --prompt x -o out.ply
pose-pnp none.png --scene big.ply --fov 47
pose-pnp views/images/000.png --scene big.ply
pose-pnp views/images/000.png --scene rocket.glb --fov 47
pose-pnp {POSE} --intrinsics views/transforms.json
pose-pnp {POSE} --find grid
pose-pnp {POSE} --init none.json
pose-pnp {POSE} -o poses.json
man nothing
"""

TIMES = {"seconds", "cpu_seconds", "steps_per_second", "ended", "input_stamp", "output_stamp"}
VERSIONS = {"version", "versions", "gatlas"}


def main() -> int:
    if len(sys.argv) == 3 and sys.argv[1] == "record":
        with tempfile.TemporaryDirectory(prefix="pins-") as work:
            record(Path(sys.argv[2]), Path(os.path.realpath(work)))
        return 0
    if len(sys.argv) == 4 and sys.argv[1] == "compare":
        return compare(Path(sys.argv[2]), Path(sys.argv[3]))
    print(__doc__, file=sys.stderr)
    return 2


# Recording


def record(out: Path, work: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    for folder in ("help", "man", "reports"):
        (out / folder).mkdir(parents=True)
    for verb in ("gatlas", *VERBS):
        words = [] if verb == "gatlas" else [verb]
        (out / "help" / f"{verb}.txt").write_bytes(start([*words, "--help"], work).stdout)
    subprocess.run([sys.executable, "-m", "gatlas.cli.manual", str(out / "man")], env=environment(), check=True)

    outputs: dict[str, str] = {}
    manifests: dict[str, list] = {}
    said: dict[str, dict] = {}
    lines = RUNS.strip().splitlines()
    shutil.copy(ROCKET, work)
    prepare(work)
    known = stamps(work)
    for number, line in enumerate(lines, 1):
        print(f"{number}/{len(lines)} gatlas {line}", file=sys.stderr)
        name = f"{number:03} {line}"
        words, _, source = line.partition(" < ")
        done = start(shlex.split(words, comments=False), work, work / source if source else None)
        said[name] = {"exit": done.returncode, "stderr": masked_lines(done.stderr.decode(), work)}
        if is_text(done.stdout):
            said[name]["stdout"] = masked_lines(done.stdout.decode(), work)
        else:
            outputs[f"{name}: standard output"] = digest("stdout", done.stdout)
        now = stamps(work)
        for path in sorted(now):
            if now[path] == known.get(path):
                continue
            content = (work / path).read_bytes()
            if path.endswith(".jsonl") and "manifest" in path:
                manifests[f"{name}: {path}"] = sorted((masked(each, work) for each in json_lines(content)), key=dumped)
                continue
            if path.endswith((".json", ".jsonl")):
                text = "\n".join(dumped(masked(each, work)) for each in json_lines(content)) + "\n"
                kept = out / "reports" / f"{number:03}" / path
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(text)
                content = text.encode()
            outputs[f"{name}: {path}"] = digest(path, content)
        prepare(work)
        known = stamps(work)

    for name, content in (("outputs", outputs), ("manifests", manifests), ("stdout_stderr", said)):
        (out / f"{name}.json").write_text(dumped(content) + "\n")


def prepare(work: Path) -> None:
    """What later runs read that no run makes; each as soon as what it follows from is there."""
    (work / "captions.csv").write_text(
        "a,a rocket\nb,a small rocket\nc,a grey rocket\nd,half a rocket\nbig,a big one\n"
    )
    (work / "prompts.txt").write_text("a rocket\na small rocket\n")
    (work / "broken.ply").write_text("ply\nformat ascii 1.0\nend of it\n")
    corners = "v 0 1 0\nv 1 0 0\nv 0 0 1\nv -1 0 -1\n"
    (work / "pyramid.obj").write_text(f"{corners}f 1 3 2\nf 1 4 3\nf 1 2 4\nf 2 3 4\n")
    if (work / "a.ply").exists() and not (work / "other").exists():
        (work / "other").mkdir()
        shutil.copy(work / "a.ply", work / "other")
    if (work / "views").exists() and not (work / "scenes").exists():
        (work / "scenes").mkdir()
        for name, height in (("one", 10), ("two", 35)):
            words = f"render rocket.glb --orbit 24 --elevation {height} --width 32 --background white -o scenes/{name}/"
            start(words.split(), work).check_returncode()
        write_matches(work)


def write_matches(work: Path) -> None:
    """Points in the unit ball and where the first camera of `views` sees them, a tenth of them somewhere else."""
    frame = json.loads((work / "views" / "transforms.json").read_text())
    pose = np.array(frame["frames"][0]["transform_matrix"])
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.4, 0.4, (100, 3))
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    pixels = np.stack([frame["cx"] - frame["fl_x"] * x / z, frame["cy"] + frame["fl_y"] * y / z], axis=1)
    pixels[:10] = rng.uniform(0, 256, (10, 2))
    np.savez(work / "matches.npz", points=points, pixels=pixels)


def start(words: list[str], work: Path, source: Path | None = None) -> subprocess.CompletedProcess:
    given = source.read_bytes() if source else b""
    command = [sys.executable, "-m", "gatlas", *words]
    return subprocess.run(command, cwd=work, env=environment(), input=given, capture_output=True, timeout=600)


def environment() -> dict[str, str]:
    """The environment without a queue or a launcher, with one number of threads and one width of the page."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "MASTER_"))}
    path = os.pathsep.join(os.path.abspath(each) for each in kept.get("PYTHONPATH", "").split(os.pathsep) if each)
    fixed = {"COLUMNS": "100", "NO_COLOR": "1", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return {**kept, **fixed}


def stamps(work: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in work.rglob("*") if path.is_file()]
    return {str(path.relative_to(work)): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


# What does not count


def masked(value, work: Path):
    """A JSON value without times, versions and the temporary folder."""
    if isinstance(value, dict):
        return {name: "*" if name in TIMES | VERSIONS else masked(each, work) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each, work) for each in value]
    return masked_lines(value, work) if isinstance(value, str) else value


def masked_lines(text: str, work: Path) -> str:
    text = text.replace(str(work), "WORK").replace(str(Path.home()), "HOME")
    text = re.sub(r"^gatlas: compiling kernels.*\n", "", text, flags=re.MULTILINE)  # only where there is no cache yet
    text = re.sub(r"\b[\d.,]+ (s|min|h)\b", r"# \1", text)
    return re.sub(r"(gatlas,? (?:version )?)\d+\.\d+\.\d+\S*", r"\1#", text)


def masked_bytes(content: bytes) -> bytes:
    """The head of a PLY or the record in an NPZ, without the version that wrote it."""
    content = re.sub(rb'("version": ?)"[^"]*"', rb'\1"*"', content)
    return re.sub(rb"(gatlas )\d+\.\d+\.\d+\S*", rb"\1*", content)


# Content


def digest(name: str, content: bytes) -> str:
    return hashlib.sha256(essence(name, content)).hexdigest()


def essence(name: str, content: bytes) -> bytes:
    """What is hashed of a file: of an archive the content of its members, by name."""
    if content.startswith(b"PK") and not name.endswith((".pt", ".pth")):
        with np.load(io.BytesIO(content)) as arrays:
            return b"".join(array_bytes(each, arrays[each]) for each in sorted(arrays.files))
    if content.startswith(b"ply"):
        head, end, rest = content.partition(b"end_header\n")
        return masked_bytes(head) + end + rest
    if name.endswith(".safetensors"):
        size = int.from_bytes(content[:8], "little")
        return masked_bytes(content[8 : 8 + size]).rstrip() + content[8 + size :]
    if content[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(content)) as shard:
            members = {each.name: shard.extractfile(each) for each in shard if each.isfile()}
            return dumped({each: digest(each, file.read()) for each, file in members.items()}).encode()
    return content


def array_bytes(name: str, array: np.ndarray) -> bytes:
    text = str(array.item()) if array.ndim == 0 and array.dtype.kind in "US" else None
    value = masked_bytes(text.encode()) if text is not None else array.tobytes()
    return f"{name} {array.shape} {array.dtype if text is None else 'text'} ".encode() + value


def json_lines(content: bytes) -> list:
    try:
        return [json.loads(content)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in content.splitlines()]


def is_text(content: bytes) -> bool:
    try:
        return not content.startswith(b"ply") and "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def dumped(value) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False)


# Comparing


def compare(before: Path, after: Path) -> int:
    differences = 0
    old, new = contents(before), contents(after)
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name):
            continue
        differences += 1
        if name not in new or name not in old:
            print(f"only in {before if name in old else after}: {name}")
        elif re.fullmatch(r"[0-9a-f]{64}", old[name]):
            print(f"other content: {name}")
        else:
            print(f"other text: {name}")
            print(
                *list(difflib.unified_diff(old[name].splitlines(), new[name].splitlines(), lineterm=""))[2:], sep="\n"
            )
    print(f"{differences} of {len({*old, *new})} differ", file=sys.stderr)
    return 1 if differences else 0


def contents(folder: Path) -> dict[str, str]:
    """The texts of a record by their names; those that lie together in one JSON file one by one."""
    if not (folder / "stdout_stderr.json").exists():
        sys.exit(f"{folder}: holds no complete record")
    together = ("outputs.json", "manifests.json", "stdout_stderr.json")
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = str(path.relative_to(folder))
        if name not in together:
            found[name] = path.read_text()
            continue
        for key, value in json.loads(path.read_text()).items():
            if name == "stdout_stderr.json":
                value = "".join(f"{part}: {value[part]}\n" for part in value)
            found[f"{name} {key}"] = value if isinstance(value, str) else dumped(value)
    return found


if __name__ == "__main__":
    sys.exit(main())
