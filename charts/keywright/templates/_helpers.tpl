{{/* The namespaces have fixed names: RBAC, policies and the binary speak of them. */}}
{{- define "keywright.systemNamespace" -}}
{{- if ne .Release.Namespace "keywright-system" -}}
{{- fail (printf "install Keywright into namespace keywright-system: helm install %s <chart> --namespace keywright-system --create-namespace" .Release.Name) -}}
{{- end -}}
keywright-system
{{- end -}}

{{- define "keywright.entriesNamespace" -}}
keywright-entries
{{- end -}}

{{- define "keywright.labels" -}}
app.kubernetes.io/name: keywright
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
