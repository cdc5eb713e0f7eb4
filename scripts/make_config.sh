#!/usr/bin/env bash
# `make config`: the folder with all that is your own of the stack in docker-compose.yml. It asks for what only you know,
# keeps what is there already, and prints no secret.
set -euo pipefail

folder=${1:-./config}
secrets=$folder/secrets
# The folders keep others on this machine out. The files themselves are readable by all, because each container reads them
# as a user of its own.
umask 022
mkdir -p "$secrets"
chmod 700 "$folder" "$secrets"

ask() { # QUESTION: sets `answer`
  printf '%s: ' "$1" >&2
  IFS= read -r answer || answer=
}

ask_secret() { # FILE QUESTION CONSEQUENCE: an empty file is one that Compose can mount
  [ ! -e "$secrets/$1" ] || return 0
  printf '%s: ' "$2" >&2
  IFS= read -rs answer || answer=
  printf '\n' >&2
  printf '%s\n' "$answer" >"$secrets/$1"
  [ -n "$answer" ] || printf '  %s/%s is empty: %s\n' "$secrets" "$1" "$3" >&2
}

if [ ! -e "$folder/exporter.env" ]; then
  ask 'Address of the Prefect API (https://api.prefect.cloud/api/accounts/…/workspaces/…, http://prefect.example:4200/api)'
  case $answer in http://?* | https://?*) ;; *) echo "  It begins with http:// or https://, and ends with /api or a workspace's id." >&2; exit 1 ;; esac
  case $answer in
    *://localhost* | *://127.*) echo '  Within a container that is the container itself: this machine is host.docker.internal there.' >&2; exit 1 ;;
    *.prefect.cloud/*) credentials=PREFECT_API_KEY_FILE question='API key of Prefect Cloud' ;;
    *) credentials=PREFECT_API_AUTH_STRING_FILE question='USER:PASSWORD, where the server asks for them' ;;
  esac
  url=$answer
  ask_secret prefect-credentials "$question" 'Prefect is asked without credentials'
  [ -s "$secrets/prefect-credentials" ] && [ -n "$(cat "$secrets/prefect-credentials")" ] || credentials="# $credentials"
  cat >"$folder/exporter.env" <<ENV
# Options of the exporter, one a line: docs/configuration.md. A change needs: docker compose up -d
PREFECT_API_URL=$url
$credentials=/run/secrets/prefect-credentials
PREFECT_MONITORING_GRAFANA_URL=http://127.0.0.1:3000
# Where a browser finds Prefect, unless it is the API's address without /api.
# PREFECT_MONITORING_PREFECT_UI_URL=https://prefect.example
# Where people read docs/runbooks/.
# PREFECT_MONITORING_RUNBOOK_URL=https://git.example/prefect-monitoring/docs/runbooks
ENV
fi
ask_secret slack-url 'Slack: address of the incoming webhook' 'nothing is sent to Slack'
ask_secret pagerduty-key 'PagerDuty: integration key (Events API v2)' 'nobody is paged'
ask_secret pagerduty-escalation-key 'PagerDuty: the same for whoever hears of it when nobody has mended it' 'nothing is escalated'

[ -e "$folder/alertmanager.yml" ] || cp alertmanager/alertmanager.yml "$folder/"
[ -e "$folder/pipelines.yml" ] || cat >"$folder/pipelines.yml" <<'PIPELINES'
# What your pipelines promise: docs/pipelines.md. examples/pipelines.yml shows it. A change needs:
#   docker compose restart exporter
pipelines: []
PIPELINES
[ -e .env ] || sed "s#^STACK_CONFIG=.*#STACK_CONFIG=$folder#" .env.example >.env

cat >&2 <<NEXT

$folder/ has what is yours. Next:
  docker compose run --rm exporter check   # says what is wrong and how to mend it
  docker compose up -d                     # http://127.0.0.1:3000
NEXT
