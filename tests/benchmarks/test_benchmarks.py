"""Every benchmark runs, on inputs so small that its figures mean nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROCKET = FOLDER.parents[1] / "examples" / "rocket.glb"
ARGUMENTS = {  # of each script; MESH and SPLAT stand for files
    "bench_batch": ["--objects", "3", "--gaussians", "64", "--atlases", "30"],
    "bench_checkpoint": ["--gb", "0.001", "--layers", "2"],
    "bench_compose": [
        *(
            "--rows",
            "words-even",
            "--minutes",
            "0.001",
            "--iterations",
            "2",
            "--only",
            "*-ring",
            "--sampler-steps",
            "2",
        ),
    ],
    "bench_consistency": ["--objects", "1", "--views", "8", "--sizes", "32", "--splits", "1", "--iterations", "3"],
    "bench_dependencies": ["--only", "plyfile"],
    "bench_fit": ["MESH", "--profile", "quick", "--count", "200", "--resolution", "64"],
    "bench_formats": ["SPLAT", "--counts", "300", "--degree", "1", "--size", "32"],
    "bench_instant": ["MESH", "--count", "200", "--sizes", "64"],
    "bench_lod": ["MESH", "--levels", "50,200", "--iterations", "10", "--resolution", "64", "--size", "64"],
    "bench_lgm": ["--steps", "2", "--objects", "2", "--held", "1"],
    "bench_lgm_train": ["--steps", "1", "--rounds", "1", "--objects", "1"],
    "bench_mesh": [
        "SPLAT",
        "SPLAT",
        "--references",
        "MESH",
        "--views",
        "16",
        "--resolution",
        "64",
        "--grid",
        "24",
        "--texture",
        "64",
    ],
    "bench_noposplat": ["--steps", "2", "--scenes", "2", "--held", "1"],
    "bench_photos": ["--room", "8", "--width", "64", "--count", "60", "--profile", "quick", "--exposed"],
    "bench_photos_sfm": ["SPLAT", "--counts", "4", "--width", "64"],
    "bench_pictures": [
        *("--steps", "2", "--iterations", "2", "--only", "*-ring", "--sampler-steps", "1"),
    ],
    "bench_pose": ["MESH", "SPLAT", "--queries", "1"],
    "bench_prune": ["MESH", "--count", "200", "--keep", "100", "--iterations", "20", "--finetune", "3"],
    "bench_rasterizer": ["--threads", "1", "--repeats", "1", "--counts", "512", "--sizes", "32", "--reference", "none"],
    "bench_refine": ["MESH", "SPLAT", "--queries", "1", "--cases", "bundle"],
    "bench_scale": ["--objects", "20", "--shards", "2"],
    "bench_sizes": ["MESH", "--count", "200", "--iterations", "4", "--resolution", "64", "--sizes", "32", "64"],
    "bench_statistics": ["--count", "60"],
    "bench_threedim": ["--steps", "2", "--objects", "2", "--held", "1", "--targets", "sphere"],
    "bench_threedim_train": ["--steps", "1", "--rounds", "1", "--objects", "1"],
    "bench_train": ["--steps", "2", "--rounds", "1", "--size", "16", "--batch", "2"],
    "bench_train_gpu": [
        "--steps",
        "1",
        "--batch",
        "1",
        "--size",
        "16",
        "--sample-steps",
        "2",
        "--small",
        "--device",
        "cpu",
    ],
    "bench_viewer": ["SPLAT"],
    "bench_transport": ["--peers", "64", "--counts", "256"],
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def splat(tmp_path_factory):
    path = tmp_path_factory.mktemp("splat") / "rocket.ply"
    words = ["-n", "500", "--profile", "quick", "--resolution", "64", "--lambda-lpips", "0", "-o", str(path)]
    subprocess.run([sys.executable, "-m", "gatlas", "fit", str(ROCKET), *words], check=True)
    return path


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("bench_*.py")))
def test_a_benchmark_runs(name, splat):
    words = [{"MESH": str(ROCKET), "SPLAT": str(splat)}.get(word, word) for word in ARGUMENTS[name]]
    done = subprocess.run([sys.executable, FOLDER / f"{name}.py", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2  # a heading and a figure
