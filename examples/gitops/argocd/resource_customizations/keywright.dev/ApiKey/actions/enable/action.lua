obj.spec.disabled = false
return obj
