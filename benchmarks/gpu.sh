#!/usr/bin/env bash
# Benchmarks and tests on a GPU, in parts of less than ten minutes each:
#
#     benchmarks/gpu.sh PART OUT            PART: small middle large long cudnn memory attention decoder sets convolution
#                                           programs tiles unroll tests
#     TINY=1 benchmarks/gpu.sh PART OUT     tiny sizes, to test the script on a CPU
#
# Each part writes its results to OUT and can be run separately.
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:?PART: small, middle, large, long, cudnn, memory, attention, decoder, sets, convolution, programs, tiles, unroll or tests}
out=${2:?OUT: a folder for the results}
mkdir -p "$out"
export KERAS_BACKEND=jax XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONPATH=.
python=${PYTHON:-python}

if [ -n "${TINY:-}" ]; then
  small=2x16x8x8 middle=2x16x8x8 large=2x24x8x8 lengths=50,100 rounds=2
  sizes=2x16x8 memory=2x32x8x8 cudnn=auto
  spans=16,32 tokens=32 heads=2 features=8 layers=2 max_length=8 fast=chunked workers=2
  elements=64,200 streamed=1000 images=2 networks=cifar_resnet20 steps=20
  tiles=2x8x16x16 interpret=--interpret
else
  small=32x128x128x128,1x1000x64x64,128x50x64x512 middle=64x256x256x256,32x512x512x512 large=16x1024x768x768
  lengths=1000,4000,16000,64000 rounds=9
  sizes=8x4096x256,1x65536x64 memory=32x4096x256x256 cudnn=cudnn
  spans=128,512,2048,8192,32768 tokens=32768 heads=12 features=64 layers=12 max_length=512 fast=chunked,cudnn workers=8
  elements=1000,10000,100000,1000000 streamed=10000000 images=128 networks=resnet50,efficientnet_b0,cifar_resnet20 steps=1200
  tiles=16x1024x768x768,32x128x128x128,64x256x256x256 interpret=
fi

recurrence() { # name, shapes, dtype, further flags
  local name=$1 shapes=$2 dtype=$3
  shift 3
  $python -m benchmarks.recurrent.recurrence --shapes="$shapes" --dtype="$dtype" --rounds="$rounds" \
    --json="$out/$name.json" "$@"
}

attend() { # name, dtype, parts, further flags
  local name=$1 dtype=$2 parts=$3
  shift 3
  $python -m benchmarks.models.attention --dtype="$dtype" --parts="$parts" --lengths="$spans" --tokens="$tokens" \
    --heads="$heads" --features="$features" --layers="$layers" --max_length="$max_length" --rounds="$rounds" \
    --memory_mb=40000 --json="$out/$name.json" "$@"
}

case $part in
  small)
    recurrence small_float32 "$small" float32 --methods=sequential,auto,persistent
    recurrence small_bfloat16 "$small" bfloat16 --methods=sequential,persistent
    ;;
  middle)
    recurrence middle_float32 "$middle" float32 --methods=sequential,auto,persistent
    recurrence middle_bfloat16 "$middle" bfloat16 --methods=sequential,persistent
    ;;
  large)
    recurrence large_float32 "$large" float32 --methods=sequential,auto,persistent --cells=lstm,gru
    recurrence large_bfloat16 "$large" bfloat16 --methods=sequential,persistent --cells=lstm,gru
    recurrence large_float16 "$large" float16 --methods=sequential,persistent --cells=lstm,gru --peers=torch
    ;;
  long)
    $python -m benchmarks.recurrent.long --lengths="$lengths" --rounds=3 --json="$out/long.json"
    ;;
  cudnn)
    recurrence cudnn "$small" float32 --cells=lstm --methods=sequential,$cudnn --peers='jax cudnn,torch'
    recurrence newton "$small" float32 --cells=lstm,gru --methods=sequential,newton --peers=none
    $python -m benchmarks.recurrent.variants --shapes="$small" --json="$out/variants.json"
    $python -m benchmarks.recurrent.linear --sizes="$sizes" --json="$out/linear.json"
    ;;
  memory)
    recurrence memory "$memory" float32 --cells=lstm --methods=sequential,sequential:boundaries \
      --peers='flax linen' --passes=gradient
    ;;
  attention)
    attend attention_float32 float32 attention,block
    attend attention_bfloat16 bfloat16 attention,block --implementations="xla,$fast"
    ;;
  decoder)
    attend decoder_bfloat16 bfloat16 decoder,decoding # 124 M parameters: GPT-2
    ;;
  sets)
    $python -m benchmarks.models.sets --sizes="$elements" --streamed="$streamed" --rounds="$rounds" --json="$out/sets.json"
    ;;
  convolution)
    for dtype in float32 bfloat16; do
      $python -m benchmarks.models.convolution --models="$networks" --dtype=$dtype --batch="$images" --rounds="$rounds" \
        --json="$out/convolution_$dtype.json"
    done
    ;;
  programs) # a profiled run, and its export on the GPU and on the CPU
    $python -m jaxnets.train --workdir="$out/run" --config.train.steps=$steps --profile_steps=5
    $python -m jaxnets.evaluate --workdir="$out/run" --json >"$out/evaluate.json"
    $python -m jaxnets.export --workdir="$out/run" --output="$out/export"
    PYTHONPATH="$out/export" EXPORT="$out/export" $python - <<'END' | tee "$out/export.txt"
import os

import jax
import numpy as np
from load import load

tokens = np.arange(64).reshape(2, 32) % 256
here = np.asarray(load(os.environ["EXPORT"])(tokens))
with jax.default_device(jax.devices("cpu")[0]):
    there = np.asarray(load(os.environ["EXPORT"])(tokens))
print(f"largest difference of logits between {jax.default_backend()} and cpu: {abs(here - there).max():.2e}")
END
    ;;
  tiles) # test of the default tiling of the persistent kernel
    $python -m benchmarks.recurrent.tiles --shapes="$tiles" --rounds="$rounds" --json="$out/tiles.json" $interpret
    ;;
  unroll) # effect of unrolling, with fewer kernels per step
    for dtype in float32 bfloat16; do
      recurrence unroll_$dtype "$small" $dtype --cells=lstm,gru --peers=none --passes=gradient \
        --methods=sequential,sequential:2,sequential:4,sequential:8
    done
    ;;
  tests)
    $python -m pytest -q -n "$workers" -p no:cacheprovider tests/recurrent tests/attention tests/sets tests/convolution
    ;;
  *)
    echo "unknown part $part" >&2
    exit 2
    ;;
esac
