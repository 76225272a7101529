#!/usr/bin/env bash
# A service in another language, announced by goapi register: starts a gateway
# and the service, asks once through the gateway, and stops both.
set -euo pipefail
cd "$(dirname "$0")/../.."

address=127.0.0.1:${PORT:-18080} admin=127.0.0.1:${ADMIN_PORT:-18081} service=127.0.0.1:${SERVICE_PORT:-18082}
tmp=$(mktemp -d)
trap 'kill -TERM "${register:-}" 2>/dev/null && wait "$register"; kill -TERM "${gateway:-}" 2>/dev/null && wait "$gateway"; rm -rf "$tmp"' EXIT

go build -o "$tmp/goapi" ./cmd/goapi
"$tmp/goapi" run --address "$address" --admin "$admin" --nats off --data "$tmp/data" --log-level warn &
gateway=$!

"$tmp/goapi" register --admin "$admin" --name hello --address "$service" \
  --endpoint 'Hello;method=GET;path=/hello/{name}' -- \
  python3 examples/python/hello.py "${service##*:}" &
register=$!

# The service is reached when its announcement is; a gateway or service that did
# not start says why itself.
until curl --silent --fail --max-time 5 "http://$address/hello/john"; do
  kill -0 "$gateway" && kill -0 "$register" || exit 1
  sleep 0.1
done
