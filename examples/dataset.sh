#!/usr/bin/env bash
# From a folder of meshes and their captions to a trained text-to-3D model and its samples, on one machine:
#
#     examples/dataset.sh meshes/ captions.csv dataset/
#
# Each step goes on where it was stopped, so run it again after anything; a set that has grown since its training began
# needs a DATASET of its own, as a run keeps to the set that it began with, and new samples of a model that was trained
# further need --force in SAMPLE.
#
# FIT, ENCODE, TRAIN and SAMPLE add options of those verbs. As they stand, an object has 16,384 Gaussians and an atlas
# 128 x 128 cells, on which a CPU trains for hours; with atlases of 32 x 32 it takes minutes:
#
#     FIT="-n 1024 --profile quick" ENCODE="--size 32" SAMPLE="--prompts prompts.txt" \
#         examples/dataset.sh meshes/ captions.csv dataset/
#
# SAMPLE names what to make, else it is one chair: --prompt "chair".
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 MESHES CAPTIONS DATASET" >&2; exit 2; }
meshes=$1 captions=$2 dataset=$3
mkdir -p "$dataset"

# A batch says 3 where some objects failed: they are in its manifest, and the others go on.
batch() {
    local status=0
    gatlas "$@" || status=$?
    [ "$status" = 3 ] || return "$status"
}

# shellcheck disable=SC2086
{
    batch fit "$meshes" --jobs "$(nproc)" -o "$dataset/splats.tar" ${FIT:-}
    batch atlas-encode "$dataset/splats.tar" --jobs "$(nproc)" -o "$dataset/atlases.tar" ${ENCODE:-}
    gatlas normalize-stats "$dataset/atlases.tar" -o "$dataset/stats.npz" --force
    gatlas train "$dataset/atlases.tar" --stats "$dataset/stats.npz" --captions "$captions" --resume latest \
        -o "$dataset/run" ${TRAIN:-}
    gatlas sample --model "$dataset/run" -o "$dataset/samples/" ${SAMPLE:---prompt chair}
    batch atlas-decode "$dataset/samples/" -o "$dataset/generated/"
}
