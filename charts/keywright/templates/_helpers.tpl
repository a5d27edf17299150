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

{{/* Which pods are whose. Fixed, for a Deployment's selector can never be changed. */}}
{{- define "keywright.selector" -}}
app.kubernetes.io/name: keywright
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* By digest where there is one: a tag can be moved. */}}
{{- define "keywright.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What both roles are told. */}}
{{- define "keywright.commonArgs" -}}
- {{ printf "--log=%s" .Values.log.level | quote }}
- --log-format={{ .Values.log.format }}
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
{{- end -}}

{{/* What both pods are held to: the profile `restricted`, and a root file system that nobody writes.
     No runAsUser: the image names user 65532, and platforms that assign users of their own may. */}}
{{- define "keywright.podSecurity" -}}
automountServiceAccountToken: true
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "keywright.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  privileged: false
  readOnlyRootFilesystem: true
{{- end -}}

{{- define "keywright.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 1
{{- end -}}

{{/* Where its pods run, as the values of operator or verifier say. */}}
{{- define "keywright.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Apart where that is possible, and otherwise somewhere. */}}
{{- define "keywright.spread" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "keywright.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end -}}
