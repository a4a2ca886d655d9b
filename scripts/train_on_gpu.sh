#!/usr/bin/env bash
# From pictures to trained and scored weights on a machine with a GPU, without a network, Spark or set-up.
#
#   scripts/train_on_gpu.sh IMAGES SETS OUT [key=value …]
#
# IMAGES are training pictures (folders, tars, zips, separated by commas), SETS a folder that holds Set5 and Set14, OUT gets
# weights, histories, curves, scores and the GPU's log. Pairs key=value change settings of the first phase. Run it again
# to go on: it works for LIMIT seconds, and keeps its state in WORK.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: scripts/train_on_gpu.sh IMAGES SETS OUT [key=value …]" >&2; exit 2; }
images=$1 sets=$2 out=$3; shift 3
limit=${LIMIT:-560}                      # seconds, for machines that are lent in pieces
work=${WORK:-/tmp/lakerank-gpu}          # patches and checkpoints; must still be there for the next piece
python=${PYTHON:-python3}
config=${CONFIG:-h200} gan=${GAN-srgan-features} net=${NET:-msrresnet}  # GAN= for the first phase only
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$out" "$work"

# Petastorm and what it needs, where it is missing: WHEELS is a folder of
#   pip download --no-deps petastorm==0.13.1 dill diskcache future six fsspec psutil pyzmq 'setuptools<70' tqdm pyyaml safetensors
if [ -n "${WHEELS:-}" ] && [ ! -e "$work/site" ]; then
  "$python" -m pip install -q --no-index --no-deps --target "$work/site.part" "$WHEELS"/*
  mv "$work/site.part" "$work/site"
fi
export PYTHONPATH="$root:$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
cd "$work"

if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used,power.draw --format=csv,noheader -lms 500 >>"$out/gpu.csv" &
  trap "kill $!" EXIT
fi

"$python" -m sr_model.build_patches --source "$images" --out patches --patch 128 --store-lr \
  --multiscale 1,0.7,0.5,0.35 --limit "${IMAGES_LIMIT:-0}" --workers "$(nproc)" 2>&1 | tee -a "$out/log"

phase() {  # name, settings …: one phase until it ends or the time does; then what came of it goes to OUT
  local name=$1; shift
  [ -e "$name/done" ] && return
  local left=$((limit - SECONDS - 40))   # scoring and copying take up to 40 s
  if [ "$left" -lt 5 ]; then echo "train_on_gpu: run the same command again to go on with $name" | tee -a "$out/log"; exit 0; fi
  "$python" -m sr_model.train "$@" data=patches/train "out=$name" "valid=$sets/Set5" resume=auto "stop_after=$left" \
    tensorboard=true --json 2>&1 | tee -a "$out/log"
  cp "$name/history.jsonl" "$out/$name-history.jsonl"
  [ ! -e "$name/curve.png" ] || cp "$name/curve.png" "$out/$name-curve.png"
  tar czf "$out/$name-tensorboard.tar.gz" -C "$name" tensorboard
  local weights; weights=$(ls "$name"/*.safetensors 2>/dev/null || true)
  if [ -z "$weights" ]; then echo "train_on_gpu: run the same command again to go on with $name" | tee -a "$out/log"; exit 0; fi
  cp "$weights" "$out/$name.safetensors"
  "$python" -m sr_model.evaluate --checkpoint "$weights" --data "$sets/Set5,$sets/Set14" --metrics psnr_y,ssim_y,gmsd \
    --no-pictures --out "$name/evaluation" | tee -a "$out/log"
  cp "$name/evaluation/scores.json" "$out/$name-scores.json"
  touch "$name/done"
}

phase init --config "$config" "net=$net" "$@"
[ -z "$gan" ] || phase gan --config "$gan" "net=$net" init_from=init/init.safetensors leak_check=false ${GAN_SETTINGS:-}
echo "train_on_gpu: done; $out has weights, scores, histories and logs" | tee -a "$out/log"
