-- Higher than every revision that is recorded or asked for, or the operator would ignore it. One that the operator refuses,
-- because it exceeds the recorded ones by more than 4000000000, does not count.
local highest = 0
if obj.status ~= nil and obj.status.highestRevision ~= nil then
  highest = obj.status.highestRevision
end
if obj.spec.rotation ~= nil and obj.spec.rotation.revision ~= nil then
  local asked = obj.spec.rotation.revision
  if asked > highest and asked <= highest + 4000000000 then
    highest = asked
  end
end
if obj.spec.rotation == nil then
  obj.spec.rotation = {}
end
obj.spec.rotation.revision = highest + 1
return obj
