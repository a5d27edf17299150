local disabled = obj.spec.disabled == true
return {
  disable = { disabled = disabled },
  enable = { disabled = not disabled },
}
