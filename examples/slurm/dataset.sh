#!/usr/bin/env bash
# From a folder of meshes and their captions to a trained text-to-3D model, as Slurm jobs that wait for each other:
#
#     examples/slurm/dataset.sh meshes/ captions.csv dataset/ [TASKS]
#
# Arrays fit and encode; statistics, training and samples follow where the job before ended well (afterok).
# FIT, ENCODE, TRAIN and SAMPLE add options of those verbs, SBATCH those of every sbatch, TRAIN_SBATCH and SAMPLE_SBATCH
# those of the two jobs that a GPU is for; without them they have none:
#
#     SBATCH="-A project" TRAIN_SBATCH="-p gpu --nodes=2 --gpus-per-node=8 --cpus-per-task=64" \
#         SAMPLE_SBATCH="-p gpu --gpus=1" \
#         TRAIN="--base stable-diffusion/ --lpips-weights vgg16-397923af.pth" SAMPLE="--prompts prompts.txt" \
#         examples/slurm/dataset.sh meshes/ captions.csv dataset/ 16
#
# On a CPU, training takes hours with atlases of 128 x 128 cells and minutes with 32 x 32: FIT="-n 1024"
# ENCODE="--size 32". SAMPLE names what to make, else it is one chair: --prompt "chair".
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 MESHES CAPTIONS DATASET [TASKS]" >&2; exit 2; }
meshes=$1 captions=$2 dataset=$3 tasks=${4:-4}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dataset"

# Prints the id of a job that starts when the one named first has ended well.
after() {
    local before=$1
    shift
    # shellcheck disable=SC2086
    sbatch --parsable ${SBATCH:-} ${before:+--dependency=afterok:$before --kill-on-invalid-dep=yes} "$@"
}
job=$here/job.sbatch
array=--array=0-$((tasks - 1))
# shellcheck disable=SC2086
{
    fit=$(after "" "$array" -J fit "$job" fit "$meshes" -o "$dataset/splats/" ${FIT:-})
    encode=$(after "$fit" "$array" -J encode "$job" atlas-encode "$dataset/splats/" -o "$dataset/atlases/" ${ENCODE:-})
    stats=$(after "$encode" -J stats "$job" normalize-stats "$dataset/atlases/" -o "$dataset/stats.npz" --force)
    train=$(after "$stats" ${TRAIN_SBATCH:-} "$here/train.sbatch" "$dataset/atlases/" --stats "$dataset/stats.npz" \
        --captions "$captions" -o "$dataset/run" ${TRAIN:-})
    sample=$(after "$train" ${SAMPLE_SBATCH:-} -J sample "$job" sample --model "$dataset/run" \
        -o "$dataset/samples/" ${SAMPLE:---prompt chair})
}
echo "fit $fit, encode $encode, stats $stats, train $train, sample $sample"
