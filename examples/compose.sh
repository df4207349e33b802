#!/usr/bin/env bash
# Does the text compose? Twelve shapes in ten colors, of which a model learns 96 combinations; it is asked for all words,
# also in the 24 combinations that it never saw. Everything goes to ./out/compose; what an earlier run left is removed.
# Options: GATLAS_STEPS (of the training), GATLAS_SEED, and GATLAS_INIT=surface for fits that are not even.
set -euo pipefail
cd "$(dirname "$0")/.."
out=out/compose
steps=${GATLAS_STEPS:-2400}
rm -rf "$out"
mkdir -p "$out"
SECONDS=0
say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

say "objects and captions: 96 to learn, 24 held back"
python examples/make_objects.py "$out/objects" --set compose

say "Gaussians and atlases"
for part in learned held-back; do
  gatlas fit "$out/objects/$part"/*.glb --init "${GATLAS_INIT:-even}" --count 1024 --profile quick --iterations 60 \
    --views 32 --resolution 128 --lambda-lpips 0 -o "$out/splats/$part/"
  gatlas atlas-encode "$out/splats/$part"/*.ply --size 32 --projection octahedral -o "$out/atlases/$part/"
done
gatlas normalize-stats "$out/atlases/learned" -o "$out/stats.npz"

say "training"
gatlas train "$out/atlases/learned" --stats "$out/stats.npz" --captions "$out/objects/learned/captions.json" \
  --preset small --steps "$steps" --set "schedule_steps=$steps" --seed "${GATLAS_SEED:-0}" --sample-every 0 -o "$out/run"

say "samples of all that was held back, of every fourth that was learned, and of these in other words"
python - "$out" > "$out/prompts.txt" <<'PYTHON'
import json, sys
learned, held_back = (json.load(open(f"{sys.argv[1]}/objects/{part}/captions.json")) for part in ("learned", "held-back"))
some = dict(list(learned.items())[::4])
print(*held_back.values(), *some.values(), *(f"the {name.split('-')[1]} is {name.split('-')[0]}" for name in some), sep="\n")
PYTHON
gatlas sample --model "$out/run" --prompts "$out/prompts.txt" -o "$out/samples/"

say "judgement"
python examples/judge_compose.py "$out/objects" "$out/atlases" "$out/samples" "$out/sheet.png"
say "look at $PWD/$out/sheet.png"
