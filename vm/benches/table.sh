#!/usr/bin/env bash
# Times models on this machine, all parties as processes: both routes and what each reveals, over three networks (each with a
# program compiled for it), a batch of eight, and two parties with preprocessing in files.
#
#     cargo build --release && bash vm/benches/table.sh MODEL.tflite …
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$here/target/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# measure MODEL NET COMPILER-OPTIONS… -- BENCH-OPTIONS…
measure() {
    local model=$1 net=$2 compile=() program=$work/program.mpcb
    shift 2
    while [ "$1" != -- ]; do
        compile+=("$1")
        shift
    done
    shift
    [ "$net" = loopback ] || compile+=("--net=$net")
    "$bin/qnnc" "$model" -o "$program" "${compile[@]}" 2>/dev/null
    "$bin/qnnvm" bench "$program" -w "$work/program.mpcw" --net "$net" "$@"
}

for model in "$@"; do
    name=$(basename "$model" .tflite)
    for way in "--reveal=logits" "--reveal=logits --route=boolean" "--reveal=output"; do
        echo
        echo "$name, $way"
        for net in loopback lan wan; do
            # shellcheck disable=SC2086
            measure "$model" "$net" $way -- --runs 5 | if [ "$net" = loopback ]; then cat; else tail -n 1; fi
        done
    done
    echo "$name, --reveal=logits, eight samples together"
    measure "$model" loopback --reveal=logits -- --runs 3 --batch 8 | tail -n 1
    echo "$name, --reveal=logits --protocol dealer2, dealt ahead into files"
    for net in loopback lan wan; do
        measure "$model" "$net" --reveal=logits --protocol dealer2 -- --runs 5 --offline | tail -n 1
    done
done
