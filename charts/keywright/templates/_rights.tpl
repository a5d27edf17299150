{{/*
Who gets what. A test compares what is rendered with docs/rights.md, and another what is used with what is given.

Without watchNamespaces the rules below that concern keys stand in a ClusterRole, for keys may be in any namespace. With
it they stand in a Role in each of its namespaces, and neither account has a right outside of these and of our own two:
nothing of ours needs one. (Whoever installs the chart does: it contains CRDs, policies and the roles for people.)
*/}}

{{/* What the operator needs wherever keys are. */}}
{{- define "keywright.rules.operator" -}}
# `get` looks, before anything is removed because of it, whether a key is gone indeed.
- apiGroups: [keywright.dev]
  resources: [apikeys]
  verbs: [get, list, watch]
- apiGroups: [keywright.dev]
  resources: [accounts, suspensions]
  verbs: [list, watch]
- apiGroups: [keywright.dev]
  resources: [apikeys/status, accounts/status, suspensions/status]
  verbs: [update]
# Write only. No get, list or watch, and no patch either: a JSON patch is a read. The policy
# keywright-operator-secrets confines it to Keywright's own types.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, update, delete]
# The members of an Account. Without `escalate`: it can bind these two roles and no other, and the policy
# keywright-operator-bindings keeps it from every other binding.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, create, update, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [keywright-owner, keywright-admin]
  verbs: [bind]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* What the verifier needs wherever keys are. */}}
{{- define "keywright.rules.verifier" -}}
- apiGroups: [keywright.dev]
  resources: [apikeys, accounts, suspensions]
  verbs: [list, watch]
# How a key is used goes into status.activity; the policy keywright-verifier-status confines it to that.
- apiGroups: [keywright.dev]
  resources: [apikeys]
  verbs: [get]
- apiGroups: [keywright.dev]
  resources: [apikeys/status]
  verbs: [patch]
{{- end -}}

{{/* Gives a role to one of our accounts: a list of kind, name, namespace ("" for the cluster), account and the chart. */}}
{{- define "keywright.binding" -}}
{{- $kind := index . 0 -}}
{{- $account := index . 1 -}}
{{- $namespace := index . 2 -}}
{{- $root := index . 3 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ $account }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "keywright.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ $account }}
subjects:
  - kind: ServiceAccount
    name: {{ $account }}
    namespace: {{ include "keywright.systemNamespace" $root }}
{{- end -}}

{{/* The head of a role of one of our accounts: the same list. */}}
{{- define "keywright.ownRole" -}}
{{- $kind := index . 0 -}}
{{- $account := index . 1 -}}
{{- $namespace := index . 2 -}}
{{- $root := index . 3 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ $account }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "keywright.labels" $root | nindent 4 }}
{{- end -}}

{{/* What an account needs wherever keys are, and who gets it: everywhere, or in the namespaces of watchNamespaces. */}}
{{- define "keywright.whereKeysAre" -}}
{{- $account := index . 0 -}}
{{- $rules := index . 1 -}}
{{- $root := index . 2 -}}
{{- range $root.Values.watchNamespaces }}
---
{{ include "keywright.ownRole" (list "Role" $account . $root) }}
rules:
  {{- include $rules $root | nindent 2 }}
---
{{ include "keywright.binding" (list "Role" $account . $root) }}
{{- else }}
---
{{ include "keywright.ownRole" (list "ClusterRole" $account "" $root) }}
rules:
  {{- include $rules $root | nindent 2 }}
---
{{ include "keywright.binding" (list "ClusterRole" $account "" $root) }}
{{- end }}
{{- end -}}

{{/* Whether a subject of RBAC is no ServiceAccount of ours: a list of the subject's name in the expression, and the chart. */}}
{{- define "keywright.notOurOwn" -}}
{{- $s := index . 0 -}}
{{- $root := index . 1 -}}
!({{ $s }}.?namespace.orValue('') == '{{ include "keywright.entriesNamespace" $root }}' || ({{ $s }}.?namespace.orValue('') == '{{ include "keywright.systemNamespace" $root }}' && {{ $s }}.name in ['keywright-operator', 'keywright-verifier']))
{{- end -}}
