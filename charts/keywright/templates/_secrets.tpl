{{/* Returns true if key `k` of a delivered Secret's labels or annotations is allowed by a list of the values: a key, a domain with its
slash, or `*`. The lists do not contain Keywright's own keys. */}}
{{- define "keywright.allowsKey" -}}
{{- if has "*" . -}}true{{- else -}}{{ include "keywright.celTexts" . }}.exists(a, k == a || (a.endsWith('/') && k.startsWith(a))){{- end -}}
{{- end -}}

{{/* Returns true if a name for a delivered Secret is allowed by the values. Regular expressions are literals, so that a wrong one fails
the installation. */}}
{{- define "keywright.allowsName" -}}
{{- $name := .name -}}
({{ $name }}.matches({{ toRawJson .values.names }}){{ range .values.refusedNames }} && !{{ $name }}.matches({{ toRawJson . }}){{ end }})
{{- end -}}

{{/* A list of texts in CEL, where a JSON string is a string too. */}}
{{- define "keywright.celTexts" -}}
{{- if . -}}{{ toRawJson . }}{{- else -}}[]{{- end -}}
{{- end -}}

{{/* A list as a message has it. */}}
{{- define "keywright.named" -}}
{{- if . -}}{{ join ", " . }}{{- else -}}none{{- end -}}
{{- end -}}
