obj.spec.disabled = true
return obj
