{{/* What every object carries. */}}
{{- define "weir.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.customLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Of one component: (dict "root" $ "component" "node"). Never changes: selectors are immutable. Pods
carry only these and customLabels: the version of the chart alone must not replace an engine.
*/}}
{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "weir.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}

{{/* Of a pod: (dict "root" $ "component" "node" "labels" .Values.node.podLabels). */}}
{{- define "weir.podLabels" -}}
{{ include "weir.selector" . }}
{{- with .root.Values.customLabels }}
{{ toYaml . }}
{{- end }}
{{- with .labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Image of a container of ours, with its pull policy. */}}
{{- define "weir.imageFields" -}}
image: {{ include "weir.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "weir.operatorAccount" -}}
{{ .Values.controller.serviceAccount.name }}
{{- end }}

{{- define "weir.nodeAccount" -}}
{{ .Values.node.serviceAccount.name }}
{{- end }}

{{/* Name of the Secret with the store's credentials; empty: there is none. */}}
{{- define "weir.storeSecret" -}}
{{- if .Values.store.existingSecret -}}
{{ .Values.store.existingSecret }}
{{- else if .Values.store.credentials.accessKeyId -}}
weir-store
{{- end -}}
{{- end }}

{{/* Environment of whoever opens the store. */}}
{{- define "weir.storeEnv" -}}
- name: WEIR_STORE
  value: {{ required "store.url is required: --set store.url=s3://BUCKET" .Values.store.url | quote }}
{{- $secret := include "weir.storeSecret" . }}
{{- if $secret }}
{{- range $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $name }}
  valueFrom: { secretKeyRef: { name: {{ $secret }}, key: {{ $name }} } }
{{- end }}
{{- range $name := list "AWS_SESSION_TOKEN" "AWS_REGION" }}
- name: {{ $name }}
  valueFrom: { secretKeyRef: { name: {{ $secret }}, key: {{ $name }}, optional: true } }
{{- end }}
{{- end }}
{{- end }}

{{/* Pods start anew when the Secret that the chart makes changes. */}}
{{- define "weir.storeChecksum" -}}
{{ toJson .Values.store | sha256sum }}
{{- end }}

{{/* Whether the snapshotter and the VolumeSnapshotClasses are rendered: "true" or empty. */}}
{{- define "weir.snapshots" -}}
{{- if or .Values.sidecars.snapshotter.forceEnable (.Capabilities.APIVersions.Has "snapshot.storage.k8s.io/v1") -}}
true
{{- end -}}
{{- end }}

{{/*
One sidecar: (dict "root" $ "name" "csi-attacher" "values" .Values.sidecars.attacher "args" (list ...)).
*/}}
{{- define "weir.sidecar" -}}
{{- $image := .values.image }}
{{- $registry := .root.Values.sidecars.registry }}
{{- if and (not $registry) (hasPrefix "sig-storage/" $image.repository) }}
{{- fail "sidecars.registry must name the registry that has the images of Kubernetes' SIG Storage" }}
{{- end }}
- name: {{ .name }}
  image: {{ with $registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ $image.tag }}
  imagePullPolicy: {{ .values.image.pullPolicy | default .root.Values.image.pullPolicy }}
  args:
    - --csi-address=/csi/csi.sock
    - --leader-election
    - --leader-election-namespace={{ .root.Release.Namespace }}
    - --timeout=60s
    - --kube-api-qps=20
    - --kube-api-burst=100
    - --v={{ .values.logLevel }}
    {{- range concat .args .values.additionalArgs }}
    - {{ . | quote }}
    {{- end }}
  {{- with .values.env }}
  env: {{- toYaml . | nindent 4 }}
  {{- end }}
  resources: {{- toYaml .values.resources | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext: {{- toYaml .root.Values.controller.securityContext | nindent 4 }}
  volumeMounts:
    - { name: csi, mountPath: /csi }
{{- end }}
