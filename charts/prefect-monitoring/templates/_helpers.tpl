{{- define "prefect-monitoring.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Selectors cannot change after an installation: they depend only on the release's name. Takes (root, component). */}}
{{- define "prefect-monitoring.selectorLabels" -}}
app.kubernetes.io/name: prefect-monitoring
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "prefect-monitoring.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") }}
{{ include "prefect-monitoring.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: prefect-monitoring
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes (root, component). A digest is one image's: it does not hold for another repository. */}}
{{- define "prefect-monitoring.image" -}}
{{- $own := ternary .root.Values.archive.imageRepository "" (eq .component "archive") -}}
{{- $root := .root -}}
{{- with .root.Values.image -}}
{{- $repository := default .repository $own -}}
{{- $repository = ternary (printf "%s/%s" .registry $repository) $repository (not (empty .registry)) -}}
{{- if and .digest (not $own) -}}
{{- printf "%s@%s" $repository .digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default $root.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "prefect-monitoring.serviceAccountName" -}}
{{- default (ternary (include "prefect-monitoring.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* The variable of an entry of existingSecrets: Prefect's own are variables of Prefect, all others options of ours. */}}
{{- define "prefect-monitoring.secretVariable" -}}
{{- $name := upper . -}}
{{- ternary $name (printf "PREFECT_MONITORING_%s" $name) (hasPrefix "PREFECT_" $name) }}_FILE
{{- end -}}

{{- define "prefect-monitoring.keepsLedger" -}}
{{- if and .Values.persistence.enabled (not .Values.existingSecrets.ledger_url) }}true{{ end -}}
{{- end -}}

{{/* The secrets of a workload, by what they hold: the archive neither acts nor has a ledger. Takes (root, component). */}}
{{- define "prefect-monitoring.secrets" -}}
{{- $secrets := .root.Values.existingSecrets -}}
{{- ternary $secrets (omit $secrets "act_api_key" "ledger_url") (eq .component "exporter") | toYaml -}}
{{- end -}}

{{/* Shared by the containers of both workloads. Takes (root, component). */}}
{{- define "prefect-monitoring.container" -}}
{{- $component := .component -}}
{{- $secrets := include "prefect-monitoring.secrets" . | fromYaml -}}
{{- with .root -}}
image: {{ include "prefect-monitoring.image" (dict "root" . "component" $component) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
env:
  - name: PREFECT_API_URL
    value: {{ required "prefect.apiUrl is required: the address of your Prefect API" .Values.prefect.apiUrl | quote }}
  - name: PREFECT_MONITORING_CONFIG
    value: /etc/prefect-monitoring/options/prefect-monitoring.yml
  {{- if eq $component "archive" }}
  - name: PREFECT_MONITORING_ARCHIVE_LISTEN
    value: {{ printf "%s:9878" .Values.listenHost | quote }}
  {{- else }}
  - name: PREFECT_MONITORING_LISTEN
    value: {{ printf "%s:9877" .Values.listenHost | quote }}
  {{- end }}
  {{- if not (or (eq $component "archive") $secrets.ledger_url) }}
  - name: PREFECT_MONITORING_LEDGER_URL
    value: sqlite:////var/lib/prefect-monitoring/ledger.db
  {{- end }}
  {{- if or .Values.pipelines.content .Values.pipelines.existingConfigMap }}
  - name: PREFECT_MONITORING_PIPELINES
    value: /etc/prefect-monitoring/pipelines/pipelines.yml
  {{- end }}
  {{- if .Values.tls.existingSecret }}
  - name: PREFECT_MONITORING_TLS_CERT
    value: /etc/prefect-monitoring/tls/tls.crt
  - name: PREFECT_MONITORING_TLS_KEY
    value: /etc/prefect-monitoring/tls/tls.key
  {{- end }}
  {{- range $what, $secret := $secrets }}
  - name: {{ include "prefect-monitoring.secretVariable" $what }}
    value: /etc/prefect-monitoring/secrets/{{ $what }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes (root, component). */}}
{{- define "prefect-monitoring.volumeMounts" -}}
{{- $secrets := include "prefect-monitoring.secrets" . | fromYaml -}}
{{- with .root -}}
- {name: tmp, mountPath: /tmp}
- {name: options, mountPath: /etc/prefect-monitoring/options, readOnly: true}
{{- if or .Values.pipelines.content .Values.pipelines.existingConfigMap }}
- {name: pipelines, mountPath: /etc/prefect-monitoring/pipelines, readOnly: true}
{{- end }}
{{- if $secrets }}
- {name: secrets, mountPath: /etc/prefect-monitoring/secrets, readOnly: true}
{{- end }}
{{- if .Values.tls.existingSecret }}
- {name: tls, mountPath: /etc/prefect-monitoring/tls, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes (root, component). */}}
{{- define "prefect-monitoring.volumes" -}}
{{- $secrets := include "prefect-monitoring.secrets" . | fromYaml -}}
- name: tmp # the archive writes its files there before it sends them
  emptyDir: {sizeLimit: {{ ternary .root.Values.archive.tmpSize "64Mi" (eq .component "archive") }}}
{{- with .root }}
- name: options
  configMap: {name: {{ include "prefect-monitoring.fullname" . }}}
{{- if or .Values.pipelines.content .Values.pipelines.existingConfigMap }}
- name: pipelines
  configMap:
    {{- with .Values.pipelines.existingConfigMap }}
    name: {{ .name }}
    items: [{key: {{ default "pipelines.yml" .key | quote }}, path: pipelines.yml}]
    {{- else }}
    name: {{ include "prefect-monitoring.fullname" . }}-pipelines
    {{- end }}
{{- end }}
{{- if $secrets }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $what, $secret := $secrets }}
      - secret:
          name: {{ $secret.name }}
          items: [{key: {{ $secret.key | quote }}, path: {{ $what }}}]
      {{- end }}
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The specification of both workloads' pods, except containers and volumes. */}}
{{- define "prefect-monitoring.podSettings" -}}
serviceAccountName: {{ include "prefect-monitoring.serviceAccountName" . }}
automountServiceAccountToken: false
# Kubernetes would set PREFECT_* variables for Services of those names, and Prefect's settings do not take these.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Annotations and labels of both workloads' pods. Takes (root, component). A change of the options restarts them. */}}
{{- define "prefect-monitoring.podMetadata" -}}
annotations:
  checksum/options: {{ include (print .root.Template.BasePath "/configmap.yaml") .root | sha256sum }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
labels:
  {{- include "prefect-monitoring.labels" . | nindent 2 }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "prefect-monitoring.probe" -}}
httpGet: {path: {{ .path }}, port: metrics, scheme: {{ ternary "HTTPS" "HTTP" (not (empty .root.Values.tls.existingSecret)) }}}
timeoutSeconds: 5
{{- end -}}
