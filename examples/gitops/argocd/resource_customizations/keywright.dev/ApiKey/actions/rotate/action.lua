-- Higher than every revision that is known, or the operator would ignore it.
local highest = 0
if obj.spec.rotation ~= nil and obj.spec.rotation.revision ~= nil then
  highest = obj.spec.rotation.revision
end
if obj.status ~= nil and obj.status.highestRevision ~= nil and obj.status.highestRevision > highest then
  highest = obj.status.highestRevision
end
if obj.spec.rotation == nil then
  obj.spec.rotation = {}
end
obj.spec.rotation.revision = highest + 1
return obj
