-- Argo CD runs this without Lua's string and math libraries, so it uses neither.
local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}
if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "The key is being deleted")
end
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to read this generation")
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

-- These pass by themselves; whatever else is in the way of Ready takes a person.
local passing = { Issuing = true, CloneSourceNotReady = true }
local ready = conditions.Ready
if ready == nil then
  return health("Progressing", "Waiting for the condition Ready")
end
if ready.status ~= "True" then
  if passing[ready.reason] then
    return health("Progressing", ready.reason .. ": " .. ready.message)
  end
  return health("Degraded", ready.reason .. ": " .. ready.message)
end

-- An ended key is Ready all the same: it is honoured, by refusing every call.
if status.state == "Expired" then
  return health("Degraded", "Every call is refused, for the key or its value has ended: move spec.expiresAt forward, or raise spec.rotation.revision")
end

local enforced = conditions.Enforced
if enforced ~= nil and enforced.status == "False" then
  return health("Degraded", enforced.reason .. ": " .. enforced.message)
end
if enforced ~= nil and enforced.status ~= "True" then
  return health("Progressing", enforced.reason .. ": " .. enforced.message)
end

if status.state == "Suspended" and conditions.Suspended ~= nil then
  return health("Suspended", conditions.Suspended.reason .. ": " .. conditions.Suspended.message)
end
if status.state == "Disabled" then
  return health("Suspended", "Disabled, the key or its account: every call is refused until it is enabled again")
end
return health("Healthy", ready.message)
