#!/usr/bin/env bash
# Times models on this machine, all parties as processes: what each reveals, over three networks, and a batch of eight.
#
#     cargo build --release && bash vm/benches/table.sh MODEL.tflite …
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$here/target/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for model in "$@"; do
    name=$(basename "$model" .tflite)
    for reveal in logits output; do
        program=$work/$name.$reveal.mpcb
        "$bin/qnnc" "$model" -o "$program" --reveal="$reveal" 2>/dev/null
        echo
        echo "$name, --reveal=$reveal"
        "$bin/qnnvm" bench "$program" -w "${program%.mpcb}.mpcw" --runs 5 --net loopback --net lan --net wan
    done
    echo "$name, --reveal=logits, eight samples together"
    "$bin/qnnvm" bench "$work/$name.logits.mpcb" -w "$work/$name.logits.mpcw" --runs 3 --batch 8 | tail -n 1
done
