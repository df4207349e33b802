#!/usr/bin/env bash
# Does the text compose? Twelve shapes in ten colors, of which a model learns 96 combinations. It is asked for all words,
# also in the 24 combinations that it never saw, and what it makes is judged without weights. Everything goes to
# ./out/compose, or $OUT; what an earlier run left there is removed.
# Other amounts of work: INIT=surface (fits that are not even), ONLY='*-ring' (of the objects), TRAIN="--steps 600 ..."
# (options of `gatlas train`).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-out/compose}
train=${TRAIN:---steps 750 --set schedule_steps=750}
rm -rf "$out"
mkdir -p "$out"
SECONDS=0
say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

say "objects and captions: 96 to learn, 24 held back"
python examples/make_objects.py "$out/objects" --set compose
find "$out/objects" -name '*.glb' ! -name "${ONLY:-*}.glb" -delete

say "Gaussians and atlases"
for part in learned held-back; do
  gatlas fit "$out/objects/$part"/*.glb --init "${INIT:-even}" --count 1024 --profile quick --iterations 60 \
    --views 32 --resolution 128 --lambda-lpips 0 -o "$out/splats/$part/"
  gatlas atlas-encode "$out/splats/$part"/*.ply --size 32 --projection octahedral -o "$out/atlases/$part/"
done
gatlas normalize-stats "$out/atlases/learned" -o "$out/stats.npz"

say "training"
gatlas train "$out/atlases/learned" --stats "$out/stats.npz" --captions "$out/objects/learned/captions.json" \
  --preset small --sample-every 0 $train -o "$out/run" # $train without quotes: it is several words

say "samples of all that was held back, of every fourth that was learned, and of these in other words"
python examples/judge_compose.py "$out/objects" > "$out/prompts.txt"
gatlas sample --model "$out/run" --prompts "$out/prompts.txt" -o "$out/samples/"

say "judgement"
python examples/judge_compose.py "$out/objects" "$out/atlases" "$out/samples" "$out/sheet.png"
say "look at $(cd "$out" && pwd)/sheet.png"
