#!/usr/bin/env bash
# The tests run a real Prometheus and Alertmanager with their tools, a real PostgreSQL and a real browser. This installs
# them where that can be done without asking; it does nothing when they are already there, and leaves no service running.
set -euo pipefail

have_prometheus() { command -v prometheus >/dev/null && command -v promtool >/dev/null; }
have_alertmanager() {
  command -v amtool >/dev/null && { command -v prometheus-alertmanager || command -v alertmanager; } >/dev/null
}
# Debian keeps PostgreSQL's own programs off PATH.
have_postgres() { command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }
have_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
# Only systemd-analyze is needed, which runs without systemd.
have_systemd_analyze() { [ "$(uname)" != Linux ] || command -v systemd-analyze >/dev/null; }

packages=()
have_prometheus || packages+=(prometheus)
have_alertmanager || packages+=(prometheus-alertmanager)
have_postgres || packages+=(postgresql)
have_chromium || packages+=(chromium)
have_systemd_analyze || packages+=(systemd)
if [ ${#packages[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
  cat >&2 <<'HELP'
The tests need `prometheus` and `promtool` (2.42 or newer), `alertmanager` (or `prometheus-alertmanager`) and `amtool`
(0.25 or newer) on PATH, and PostgreSQL (15 or newer) with its `initdb` and `postgres` on PATH or in /usr/lib/postgresql.
For the pages that people see, Chromium (`chromium`, `chromium-browser` or `google-chrome` on PATH). On Linux, `systemd-analyze`.
Any of these will do:
  Debian, Ubuntu   sudo apt-get install prometheus prometheus-alertmanager postgresql chromium
  macOS            brew install prometheus alertmanager postgresql; brew install --cask chromium
  elsewhere        your distribution's packages, or a release tarball from https://prometheus.io/download/ put on PATH
HELP
  exit 1
fi

# The packages would start services on their usual ports: a policy of our own forbids that while they install.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi

log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
rm -f "$log"

have_prometheus || { echo "prometheus was installed, but prometheus or promtool is not on PATH" >&2; exit 1; }
have_alertmanager || { echo "prometheus-alertmanager was installed, but it or amtool is not on PATH" >&2; exit 1; }
have_postgres || { echo "postgresql was installed, but its programs are not where they are looked for" >&2; exit 1; }
have_chromium || { echo "chromium was installed, but is not on PATH" >&2; exit 1; }
have_systemd_analyze || { echo "systemd was installed, but systemd-analyze is not on PATH" >&2; exit 1; }
