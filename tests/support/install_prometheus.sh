#!/usr/bin/env bash
# The tests run a real Prometheus and promtool. This puts both on PATH where that can be done without asking;
# it does nothing when they are already there, and leaves no service running.
set -euo pipefail

present() { command -v prometheus >/dev/null && command -v promtool >/dev/null; }

if present; then exit 0; fi

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
  cat >&2 <<'HELP'
The tests need `prometheus` and `promtool` (2.42 or newer) on PATH. Any of these will do:
  Debian, Ubuntu   sudo apt-get install prometheus
  macOS            brew install prometheus
  elsewhere        your distribution's package, or a release tarball from https://prometheus.io/download/ put on PATH
HELP
  exit 1
fi

# The package would start a service on port 9090: a policy of our own forbids that while it installs.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi

log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends prometheus; } >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
rm -f "$log"

present || { echo "prometheus was installed, but prometheus or promtool is not on PATH" >&2; exit 1; }
