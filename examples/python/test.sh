#!/usr/bin/env bash
set -euo pipefail
out=$(./run.sh)
[[ $out == "hello john, says Python" ]] || { printf 'got %q\n' "$out"; exit 1; }
