#!/usr/bin/env bash
# The main job on the example object: mesh -> Gaussians -> atlas -> Gaussians -> picture. Results go to ./out.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p out
gatlas fit examples/rocket.glb --profile quick --count 4096 --lambda-lpips 0 --report out/rocket.json --force \
  | gatlas atlas-encode --size 64 --force -o out/rocket.npz
gatlas atlas-decode out/rocket.npz | gatlas render --orbit 8 --width 256 --force -o out/rocket.png
echo "Look at $PWD/out/rocket.png: the object from eight sides, decoded from the atlas out/rocket.npz."
