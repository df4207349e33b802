#!/usr/bin/env bash
# Views to 3D from nothing, on a CPU: random objects -> views with cameras -> a small LGM -> splats of other objects, of
# which it has seen four views each. Everything goes to ./out/views_to_3d; what an earlier run left there is removed.
# It takes about three quarters of an hour. COUNT objects are trained on, by PROCESSES processes of one thread each, and
# HELD others are kept back; TRAIN adds options of `gatlas train`: --steps 7000 for two processes, whose steps are of two
# samples; or, so that this is over in minutes, without a model worth looking at:
#
#     COUNT=6 HELD=2 TRAIN="--steps 4 --set warmup=1" examples/views_to_3d.sh
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-out/views_to_3d}
rm -rf "$out"
mkdir -p "$out"
SECONDS=0
say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

say "objects: those to learn from, and others"
python examples/make_objects.py "$out/objects" --count "${COUNT:-1000}"
python examples/make_objects.py "$out/others" --count "${HELD:-20}" --seed 1000

say "views: an orbit and all sides to learn from; four of an orbit to begin with"
gatlas render "$out/objects" -j "${PROCESSES:-1}" --orbit 12 --elevation 10 --sphere 24 --width 64 -o "$out/views/{stem}/"
gatlas render "$out/others" --orbit 4 --elevation 0 --width 64 -o "$out/four_views/{stem}/"

say "training"
# Two processes of one thread make more of two cores than one process of two threads does.
# shellcheck disable=SC2086
OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m torch.distributed.run --standalone \
  --nproc-per-node "${PROCESSES:-1}" -m gatlas train "$out/views" --system lgm --preset cpu -o "$out/run" ${TRAIN:-}

say "splats of the other objects"
gatlas sample --model "$out/run" "$out/four_views" -o "$out/splats/"
gatlas render "$out/splats" --orbit 8 --width 128 -o "$out/pictures/"

say "judgement"
python tests/benchmarks/bench_lgm.py --model "$out/run" --held "${HELD:-20}" --sheet "$out/sheet.png"
say "meshes of the splats"
gatlas mesh "$out/splats" --views 32 --resolution 256 --texture 512 -o "$out/meshes/"
say "look at $out/sheet.png: four views, renders between them, the truth; any viewer opens $out/splats and $out/meshes"
