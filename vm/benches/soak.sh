#!/bin/sh
# 10^4 inferences of a small net in one server, while a random party is killed and started again every 10 s. Prints memory and
# descriptors of the server that stays, and fails when a request is answered twice or never, or when memory grows.
# Usage: vm/benches/soak.sh [requests [milliseconds between restarts]]
set -eu
cd "$(dirname "$0")/../.."
QNN_SOAK_REQUESTS="${1:-10000}" QNN_SOAK_RESTART_MS="${2:-10000}" QNN_SOAK_RESTARTS=1000000 \
    cargo test --release -p vm --test soak -- --nocapture
