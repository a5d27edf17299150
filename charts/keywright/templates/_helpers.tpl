{{/* Operator and verifier run in the namespace of the release. */}}
{{- define "keywright.systemNamespace" -}}
{{ .Release.Namespace }}
{{- end -}}

{{/* Entries have a namespace of their own, for verifiers read all Secrets of it. It cannot be changed later: in another namespace there
     are no entries, and every key would get a new value. `lookup` finds nothing without a cluster. */}}
{{- define "keywright.entriesNamespace" -}}
{{- $entries := .Values.entriesNamespace -}}
{{- if eq $entries .Release.Namespace -}}
{{- fail (printf "entriesNamespace is %s, the namespace of the release: entries need a namespace of their own, such as %s-entries" $entries $entries) -}}
{{- end -}}
{{- range $own := list $entries .Release.Namespace -}}
{{- if has $own $.Values.watchNamespaces -}}
{{- fail (printf "watchNamespaces contains %s, which is Keywright's own: there are no keys in it" $own) -}}
{{- end -}}
{{- end -}}
{{- /* Where the namespace exists nothing is moved. */ -}}
{{- range (ternary dict (lookup "v1" "Namespace" "" "") (not (empty (lookup "v1" "Namespace" "" $entries)))).items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (eq (get $labels "app.kubernetes.io/name") "keywright") (eq (get $labels "app.kubernetes.io/component") "entries") (ne .metadata.name $entries) -}}
{{- fail (printf "namespace %s has the labels of Keywright's entries, and namespace %s does not exist. If the entries of this cluster are there, set entriesNamespace to it: in a new one every key would get a new value. If not, take the label app.kubernetes.io/component from it" .metadata.name $entries) -}}
{{- end -}}
{{- end -}}
{{ $entries }}
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
- --entries-namespace={{ include "keywright.entriesNamespace" . }}
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
