#!/usr/bin/env bash
# Text to 3D from nothing, on a CPU: eight objects -> Gaussians -> atlases -> a small diffusion model -> samples.
# Everything goes to ./out/text_to_3d; what an earlier run left there is removed.
# The model learns eight objects by heart. That shows that the parts work together, and that the text decides what
# comes out; it does not show that the model makes anything new.
set -euo pipefail
cd "$(dirname "$0")/.."
out=out/text_to_3d
rm -rf "$out"
mkdir -p "$out"
SECONDS=0
say() { printf '[%3d s] %s\n' "$SECONDS" "$*" >&2; }

say "eight objects and their captions"
python examples/make_objects.py "$out/objects"

say "Gaussians and atlases"
gatlas fit "$out"/objects/*.glb --count 1024 --profile quick --iterations 60 --views 32 --resolution 128 \
  --lambda-lpips 0 -o "$out/splats/"
gatlas atlas-encode "$out"/splats/*.ply --size 32 --projection octahedral -o "$out/atlases/"
gatlas normalize-stats "$out/atlases" -o "$out/stats.npz"

say "training"
gatlas train "$out/atlases" --stats "$out/stats.npz" --captions "$out/objects/captions.json" --preset small \
  -o "$out/run"

say "samples"
python -c 'import json, sys; print(*json.load(open(sys.argv[1])).values(), sep="\n")' "$out/objects/captions.json" \
  | gatlas sample --model "$out/run" --prompts - -o "$out/samples/"
gatlas atlas-decode "$out"/samples/*.npz -o "$out/sampled_splats/"

say "judgement"
python examples/judge_samples.py "$out/atlases" "$out/objects/captions.json" "$out/samples" "$out/prompt_to_sample.png"
say "look at $PWD/$out/prompt_to_sample.png; any viewer opens the splats in $PWD/$out/sampled_splats"
