#!/usr/bin/env bash
# One table of all protocols: models on this machine, all parties as processes, loopback without encryption, exact. What is made
# before the input is there (`ahead`) stands apart, for one sample.
#
#     cargo build --release && bash vm/benches/protocols.sh MODEL.tflite …
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$here/target/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
header=

# measure MODEL LABEL COMPILER-OPTIONS… -- BENCH-OPTIONS…: one row, or why there is none.
measure() {
    local model=$1 compile=() program=$work/program.mpcb
    shift
    while [ "$1" != -- ]; do
        compile+=("$1")
        shift
    done
    shift
    if ! "$bin/qnnc" "$model" -o "$program" --reveal=logits "${compile[@]}" 2>"$work/error"; then
        echo "${compile[*]}: $(head -n 1 "$work/error")"
        return 0
    fi
    "$bin/qnnvm" bench "$program" -w "$work/program.mpcw" "$@" >"$work/rows"
    [ -n "$header" ] || head -n 1 "$work/rows"
    header=shown
    tail -n +2 "$work/rows" | sed "s/$/  ${compile[*]}/"
}

# MP-SPDZ's own figures, where there are some: snapshot 3a0a7b1 of June 2026 on a machine of 2 cores, TLS, its own rounding, and an
# argmax inside. It did not run the malicious protocols with exact rounding.
peer() {
    case $1 in
    mobilenet_v1_0.25_128*)
        cat <<'FIGURES'
MP-SPDZ, figures of its own snapshot 3a0a7b1:                              seconds             rounds   MB/party
replicated-ring, 3 parties, semi-honest, exact                              1.21               1182       62.4
rep4-ring, 4 parties, malicious, probabilistic (machine loaded)             7.0              15953       98.3
sy-rep-ring, 3 parties, malicious, probabilistic (machine loaded)          34                44546      631
semi2k: not run; a product of two matrices 128 by 128 alone takes 14.7 s and 3265 MB
FIGURES
        ;;
    *) echo "MP-SPDZ: no figures for this model" ;;
    esac
}

for model in "$@"; do
    echo
    echo "$(basename "$model" .tflite)"
    measure "$model" --protocol rep3 -- --runs 5
    measure "$model" --protocol rep3 --route boolean -- --runs 5
    measure "$model" --protocol dealer2 -- --runs 5 --offline
    measure "$model" --protocol rep4 -- --runs 5
    measure "$model" --protocol rep3-mal -- --runs 3
    measure "$model" --protocol semi --parties 2 -- --runs 1 --warmup 0
    measure "$model" --protocol semi --parties 3 -- --runs 1 --warmup 0
    peer "$(basename "$model")"
    header=
done
