#!/usr/bin/env bash
# Fills the corpora of the targets with files of the project.
set -euo pipefail
cd "$(dirname "$0")"
data=../../testdata/models
for target in model npy png net labels frames handshake dealt; do mkdir -p corpus/$target; done
cp "$data"/digits_mlp.tflite corpus/model/
for dir in ../../shared/conformance "${QNN_CONFORMANCE_DIR:-}"; do
    [ -d "$dir" ] && find "$dir" -maxdepth 1 -name '*.tflite' -size -8k -exec cp {} corpus/model/ \;
done
# The targets put the magic in front.
for f in "$data"/*.npy; do tail -c +7 "$f" >"corpus/npy/$(basename "$f")"; done
tail -c +9 "$data/digits.png" >corpus/png/digits
for i in 0 1 2; do printf '[[party]]\nindex = %s\naddress = "127.0.0.1:780%s"\n' $i $i; done >corpus/net/three
printf '[[party]]\nindex = 0\naddress = "[::1]:7800"\n' >corpus/net/one
cp "$data/digits.labels.txt" corpus/labels/
# Two frames of 1 and 0 bytes, then a leave.
printf '\1\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1x\0\0\0\0\0\0\0\0\2\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\2\0\0\0\3' >corpus/frames/two
printf '\1\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\13bye' >corpus/frames/abort
printf 'QNNVMLNK\1\0\1\3\43\0\0\0nonce-of-16bytes\1\0\10\0protocol\4\0\0\0rep3\0' | head -c 51 >corpus/handshake/short
{ printf 'MPCD\1\0\0\0'; printf '\7%.0s' $(seq 32); printf 'i%.0s' $(seq 16); printf 's%.0s' $(seq 32)
  printf '\1\0\0\0\1\0\0\0\50\0\0\0\0\0\0\0'; printf 'm%.0s' $(seq 40); printf 'h%.0s' $(seq 32); } >corpus/dealt/small
