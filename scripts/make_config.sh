#!/usr/bin/env bash
# `make config`: creates the folder with your files for the stack in docker-compose.yml. It asks for addresses and secrets,
# asks again after an invalid answer, keeps existing files, and prints no secret.
set -euo pipefail

folder=${1:-./config}
secrets=$folder/secrets
# The folders keep other users of this machine out. The files themselves are readable by all, because each container reads
# them as a different user.
umask 022
mkdir -p "$secrets"
chmod 700 "$folder" "$secrets"

ask() { # CHECK QUESTION [-s]: sets `answer` to one that CHECK accepts; -s does not echo the input
  while :; do
    local ended=''
    printf '%s: ' "$2" >&2
    IFS= read -r ${3:+"$3"} answer || ended=1
    [ -z "${3:-}" ] || printf '\n' >&2
    if "$1" "$answer"; then return; fi
    if [ -n "$ended" ]; then exit 1; fi
  done
}

# Each accepts an answer or prints what is wrong with it, but never the answer: it may be a secret.
problem() { printf '  %s\n' "$1" >&2; return 1; }
anything() { :; }
api_url() {
  case $1 in
    *://localhost* | *://127.*) problem 'Within a container that is the container itself: this machine is host.docker.internal there.' ;;
    http://?*/api | http://?*/api/* | https://?*/api | https://?*/api/*) ;;
    *) problem "It begins with http:// or https://, and ends with /api or a workspace's id." ;;
  esac
}
user_and_password() { case $1 in '' | ?*:?*) ;; *) problem 'USER and PASSWORD have a colon between them.' ;; esac }
web_address() { case $1 in '' | http://?* | https://?*) ;; *) problem 'It begins with http:// or https://; leave it empty if there is none.' ;; esac }

ask_secret() { # FILE CHECK QUESTION CONSEQUENCE: Compose can mount an empty file, but not a missing one
  [ ! -e "$secrets/$1" ] || return 0
  ask "$2" "$3" -s
  printf '%s\n' "$answer" >"$secrets/$1"
  [ -n "$answer" ] || printf '  %s/%s is empty: %s\n' "$secrets" "$1" "$4" >&2
}

if [ ! -e "$folder/exporter.env" ]; then
  ask api_url 'Address of the Prefect API (https://api.prefect.cloud/api/accounts/…/workspaces/…, http://prefect.example:4200/api)'
  url=$answer
  case $url in
    *.prefect.cloud/*) credentials=PREFECT_API_KEY_FILE check=anything question='API key of Prefect Cloud' ;;
    *) credentials=PREFECT_API_AUTH_STRING_FILE check=user_and_password question='USER:PASSWORD, where the server asks for them' ;;
  esac
  ask_secret prefect-credentials "$check" "$question" 'Prefect is asked without credentials'
  [ -s "$secrets/prefect-credentials" ] && [ -n "$(cat "$secrets/prefect-credentials")" ] || credentials="# $credentials"
  ask web_address "Where people read docs/runbooks/, for links in messages (empty: on the exporter's own pages)"
  runbooks="PREFECT_MONITORING_RUNBOOK_URL=$answer"
  [ -n "$answer" ] || runbooks=PREFECT_MONITORING_RUNBOOK_URL=http://127.0.0.1:9877/runbooks # the exporter's own pages
  cat >"$folder/exporter.env" <<ENV
# Options of the exporter, one a line: docs/configuration.md. A change needs: docker compose up -d
PREFECT_API_URL=$url
$credentials=/run/secrets/prefect-credentials
PREFECT_MONITORING_GRAFANA_URL=http://127.0.0.1:3000
# Address of Prefect's UI, unless it is the API's address without /api.
# PREFECT_MONITORING_PREFECT_UI_URL=https://prefect.example
# Address of docs/runbooks/.
$runbooks
ENV
fi
ask_secret slack-url web_address 'Slack: address of the incoming webhook' 'nothing is sent to Slack'
ask_secret pagerduty-key anything 'PagerDuty: integration key (Events API v2)' 'nobody is paged'
ask_secret pagerduty-escalation-key anything 'PagerDuty: the same for the service that is paged for unfixed incidents' 'nothing is escalated'

[ -e "$folder/alertmanager.yml" ] || cp alertmanager/alertmanager.yml "$folder/"
[ -e "$folder/pipelines.yml" ] || cat >"$folder/pipelines.yml" <<'PIPELINES'
# Declarations about your pipelines: docs/pipelines.md. Example: examples/pipelines.yml. A change needs:
#   docker compose restart exporter
pipelines: []
PIPELINES
[ -e .env ] || sed "s#^STACK_CONFIG=.*#STACK_CONFIG=$folder#" .env.example >.env

cat >&2 <<NEXT

$folder/ has your files. Next:
  docker compose run --rm exporter check   # prints every fault and its remedy
  docker compose up -d                     # http://127.0.0.1:3000
NEXT
