{{/* Variables of a ValidatingAdmissionPolicy that compare an object before and after an update. `.free` lists the fields of
spec that the requester may change. The expressions hold for UPDATE only.

At admission, metadata.managedFields is what will be stored: the API server has added the entry of this write and taken the
changed fields from all other entries. It has kept the rest of the managedFields that the request contains. */}}
{{- define "keywright.onlyFree" -}}
- name: free
  expression: {{ printf "['%s']" (join "', '" .free) | quote }}
- name: sameSpec
  expression: >-
    object.spec.all(k, k in variables.free || (k in oldObject.spec && object.spec[k] == oldObject.spec[k]))
    && oldObject.spec.all(k, k in variables.free || k in object.spec)
# The API server sets these; managedFields is compared below.
- name: volatile
  expression: "['generation', 'resourceVersion', 'managedFields']"
- name: sameMetadata
  expression: >-
    object.metadata.all(k, k in variables.volatile || (k in oldObject.metadata && object.metadata[k] == oldObject.metadata[k]))
    && oldObject.metadata.all(k, k in variables.volatile || k in object.metadata)
- name: managed
  expression: object.metadata.?managedFields.orValue([])
- name: oldManaged
  expression: oldObject.metadata.?managedFields.orValue([])
# The free fields that this write changes, as managedFields spells them, and those of them that it does not remove.
- name: changed
  expression: variables.free.filter(f, object.spec[?f] != oldObject.spec[?f]).map(f, 'f:' + f)
- name: written
  expression: variables.changed.filter(f, f.substring(2) in object.spec)
# The entry of the writer. Only the writer owns a changed field afterwards, and the API server dates that entry. A write that
# changes nothing has no such entry.
- name: writer
  expression: variables.managed.filter(e, variables.written.exists(f, e.?fieldsV1[?'f:spec'][?f] == optional.of({})))
- name: others
  expression: variables.managed.filter(e, !{{ include "keywright.isWriter" . }})
- name: oldStripped
  expression: >-
    variables.oldManaged.map(e, {{ include "keywright.withoutChanged" . }})
- name: oldOthers
  expression: variables.oldStripped.filter(e, !{{ include "keywright.isWriter" . }} && e.?fieldsV1.orValue({}).size() > 0)
- name: writerOwns
  expression: >-
    variables.writer.map(e, {{ include "keywright.withoutChanged" . }}).map(e, e.fieldsV1).filter(owned, owned.size() > 0)
- name: writerOwned
  expression: variables.oldStripped.filter(e, {{ include "keywright.isWriter" . }}).map(e, e.fieldsV1).filter(owned, owned.size() > 0)
# Past 10 entries of updates the API server merges the two oldest into one, `ancient-changes`.
- name: updates
  expression: variables.others.filter(e, e.?operation.orValue('') == 'Update')
- name: oldUpdates
  expression: variables.oldOthers.filter(e, e.?operation.orValue('') == 'Update')
- name: merged
  expression: variables.updates.filter(e, !(e in variables.oldUpdates))
- name: mergedAway
  expression: variables.oldUpdates.filter(e, !(e in variables.updates))
- name: mergedOwns
  expression: variables.merged.map(e, e.?fieldsV1.orValue({}))
- name: mergedAwayOwned
  expression: variables.mergedAway.map(e, e.?fieldsV1.orValue({}))
- name: oldestMerged
  expression: >-
    variables.updates.size() == 9 && variables.oldUpdates.size() == 10 && variables.merged.size() == 1
    && variables.merged.all(m, m.?manager.orValue('') == 'ancient-changes' && !has(m.subresource)
    && variables.mergedAway.all(e, e.?apiVersion == m.?apiVersion) && variables.mergedAway.exists(e, e.?time == m.?time))
    && variables.others.filter(e, e.?operation.orValue('') != 'Update') == variables.oldOthers.filter(e, e.?operation.orValue('') != 'Update')
    && {{ include "keywright.covers" (dict "by" "variables.mergedOwns" "all" "variables.mergedAwayOwned") }}
    && {{ include "keywright.covers" (dict "by" "variables.mergedAwayOwned" "all" "variables.mergedOwns") }}
- name: sameManagedFields
  expression: >-
    variables.writer.size() <= 1 && variables.writerOwns == variables.writerOwned
    && (variables.others == variables.oldOthers || variables.oldestMerged)
{{- end -}}

{{/* Returns true if the entry `e` of managedFields is the one of this write's manager. */}}
{{- define "keywright.isWriter" -}}
variables.writer.exists(w, w.?manager == e.?manager && w.?operation == e.?operation && w.?apiVersion == e.?apiVersion && w.?subresource == e.?subresource)
{{- end -}}

{{/* The entry `e` of managedFields without the fields that this write changes. */}}
{{- define "keywright.withoutChanged" -}}
!variables.changed.exists(f, e.?fieldsV1[?'f:spec'][?f].hasValue()) ? e : e.transformMap(part, value, part != 'fieldsV1' ? value : value.transformMap(top, fields, top != 'f:spec' || fields.exists(f, !(f in variables.changed)), top != 'f:spec' ? fields : fields.transformMap(f, below, !(f in variables.changed), below)))
{{- end -}}

{{/* Returns true if each path in a list of fieldsV1 is in another list of fieldsV1. Keywright's fields are at most 4 deep. */}}
{{- define "keywright.covers" -}}
{{ .all }}.all(one, one.all(a, inA, {{ .by }}.exists(o, a in o) && inA.all(b, inB, {{ .by }}.exists(o, o[?a][?b].hasValue()) && inB.all(c, inC, {{ .by }}.exists(o, o[?a][?b][?c].hasValue()) && inC.all(d, inD, inD.size() == 0 && {{ .by }}.exists(o, o[?a][?b][?c][?d].hasValue()))))))
{{- end -}}

{{/* Returns true if the requester may change the annotation by which kubectl apply computes what to remove, or does not. */}}
{{- define "keywright.sameNote" -}}
{{ . }} || request.operation != 'UPDATE' || object.metadata.?annotations['kubectl.kubernetes.io/last-applied-configuration'] == oldObject.metadata.?annotations['kubectl.kubernetes.io/last-applied-configuration']
{{- end -}}
