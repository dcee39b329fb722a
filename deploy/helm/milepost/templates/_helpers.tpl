{{/* The services that run, in the order in which they are written out. */}}
{{- define "milepost.components" -}}
processor api {{ if .Values.webhooks.enabled }}webhooks{{ end }}
{{- end }}

{{- define "milepost.name" -}}
{{ contains "milepost" .Release.Name | ternary .Release.Name (printf "%s-milepost" .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What picks a component's pods, for ever: of (root, component). */}}
{{- define "milepost.selector" -}}
app.kubernetes.io/name: milepost
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "milepost.labels" -}}
{{ include "milepost.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* The port that a component answers on; the API has its metrics there, too. */}}
{{- define "milepost.port" -}}
{{ eq .component "api" | ternary 8080 9464 }}
{{- end }}

{{/* The secrets that a component may see, and no others. */}}
{{- define "milepost.secretsOf" -}}
{{- $kafka := "kafka_username kafka_password kafka_key_password" -}}
{{- get (dict
  "migrate" "database_url"
  "topics" $kafka
  "processor" (printf "database_url %s" $kafka)
  "api" (printf "database_url webhook_keys %s" $kafka)
  "webhooks" (printf "database_url webhook_keys %s" $kafka)
) .component -}}
{{- end }}

{{/* The environment of a component's container: of (root, component). */}}
{{- define "milepost.environment" -}}
{{- $own := index .root.Values .component -}}
{{- range $name, $value := merge (deepCopy $own.settings) .root.Values.settings }}
{{- /* Migrations know no Kafka: without its secrets, what is said of it would be half of it. */}}
{{- if not (and (eq $.component "migrate") (hasPrefix "kafka_" $name)) }}
- name: MILEPOST_{{ upper $name }}
  {{- if kindIs "string" $value }}
  value: {{ $value | quote }}
  {{- else if kindIs "slice" $value }}
  value: {{ join "," $value | quote }}
  {{- else }}
  value: {{ toJson $value | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- if eq .component "api" }}
- name: MILEPOST_API_HOST
  value: 0.0.0.0
- name: MILEPOST_API_PORT
  value: {{ include "milepost.port" . | quote }}
{{- else if has .component (list "processor" "webhooks") }}
- name: MILEPOST_METRICS_HOST
  value: 0.0.0.0
- name: MILEPOST_METRICS_PORT
  value: {{ include "milepost.port" . | quote }}
{{- end }}
{{- if and .root.Values.kafkaTls.secretName (ne .component "migrate") }}
- name: MILEPOST_KAFKA_CA_FILE
  value: /etc/milepost/kafka/ca.crt
{{- if .root.Values.kafkaTls.clientCertificate }}
- name: MILEPOST_KAFKA_CERT_FILE
  value: /etc/milepost/kafka/tls.crt
- name: MILEPOST_KAFKA_KEY_FILE
  value: /etc/milepost/kafka/tls.key
{{- end }}
{{- end }}
{{- $secrets := merge (deepCopy $own.secrets) .root.Values.secrets }}
{{- range $name := include "milepost.secretsOf" . | splitList " " }}
{{- $reference := get $secrets $name }}
{{- if and $reference $reference.name (or $.root.Values.webhooks.enabled (ne $name "webhook_keys")) }}
- name: MILEPOST_{{ upper $name }}
  valueFrom:
    secretKeyRef: {name: {{ $reference.name | quote }}, key: {{ $reference.key | quote }}}
{{- end }}
{{- end }}
{{- range $name, $value := .root.Values.environment }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* A component's pod but for what only services have: of (root, component, arguments, service). */}}
{{- define "milepost.pod" -}}
{{- $own := index .root.Values .component -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
automountServiceAccountToken: false
# A Service named like this release would set MILEPOST_API_PORT to tcp://...
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{ toJson .arguments }}
    env:
      {{- include "milepost.environment" . | trim | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources:
      {{- toYaml (get $own "resources" | default (dict "requests" (dict "cpu" "100m" "memory" "128Mi") "limits" (dict "memory" "512Mi"))) | nindent 6 }}
    {{- with .service }}
    {{- . | nindent 4 }}
    {{- end }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if and .root.Values.kafkaTls.secretName (ne .component "migrate") }}
      - {name: kafka-tls, mountPath: /etc/milepost/kafka, readOnly: true}
      {{- end }}
      {{- if and .root.Values.databaseTls.secretName (ne .component "topics") }}
      - {name: database-tls, mountPath: /etc/milepost/database, readOnly: true}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- if and .root.Values.kafkaTls.secretName (ne .component "migrate") }}
  - name: kafka-tls
    secret: {secretName: {{ .root.Values.kafkaTls.secretName | quote }}, defaultMode: 0440}
  {{- end }}
  {{- if and .root.Values.databaseTls.secretName (ne .component "topics") }}
  - name: database-tls
    secret: {secretName: {{ .root.Values.databaseTls.secretName | quote }}, defaultMode: 0440}
  {{- end }}
{{- end }}
