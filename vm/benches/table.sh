#!/usr/bin/env bash
# Times models on this machine, all parties as processes: both routes and what each reveals, over three networks (each with a
# program compiled for it), a batch of eight, and two parties with preprocessing in files.
#
#     cargo build --release && bash vm/benches/table.sh MODEL.tflite …
#
# With MP_SPDZ=FOLDER, a built MP-SPDZ (`make replicated-ring-party.x`, `Scripts/setup-ssl.sh 3`), it runs beside ours on the models
# that its `benchmark_mobilenet` knows: MobileNet V1, exact rounding, on random numbers.
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

# mp_spdz NAME: the same network in MP-SPDZ, exact rounding (mode 2), a ring of 72 bits, a large budget. It has its own rounding, not
# TFLite's; its time is of its own timer, without sharing inputs, and its channels are TLS.
mp_spdz() {
    local net
    case $1 in
    mobilenet_v1_*) net=v1_$(sed -E 's/mobilenet_v1_([0-9.]+_[0-9]+).*/\1/' <<<"$1") ;;
    *) return 0 ;;
    esac
    echo "$1, MP-SPDZ replicated-ring, exact with its own rounding"
    if [ ! -x "${MP_SPDZ:-}/replicated-ring-party.x" ]; then
        echo "not installed (set MP_SPDZ to its folder); the figures in README.md are of its snapshot 3a0a7b1 of June 2026"
        return 0
    fi
    local program=benchmark_mobilenet-$net-2-1-conv2ds-cisc-split pids=() party port=$((20000 + RANDOM % 20000))
    (cd "$MP_SPDZ" && ./compile.py -D -R 72 -b 100000 benchmark_mobilenet "$net" 2 1 conv2ds cisc split) >"$work/compile" 2>&1 || {
        echo "its compiler failed:"
        tail -n 3 "$work/compile"
        return 0
    }
    for party in 0 1 2; do
        (cd "$MP_SPDZ" && exec ./replicated-ring-party.x "$party" "$program" -pn "$port" -h localhost -v -R 72) \
            >"$work/spdz$party" 2>&1 &
        pids+=($!)
    done
    for party in 0 1 2; do
        wait "${pids[$party]}" || echo "party $party failed: $(tail -n 1 "$work/spdz$party")"
    done
    grep -E "^(Time|Time[0-9]+|Data sent|Global data sent)" "$work/spdz0" || true
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
    mp_spdz "$name"
done
