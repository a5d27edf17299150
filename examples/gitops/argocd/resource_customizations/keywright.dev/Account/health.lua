-- Argo CD runs this without Lua's string and math libraries, so it uses neither.
local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}
if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "The account is being deleted")
end
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to read this generation")
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local ready = conditions.Ready
if ready == nil then
  return health("Progressing", "Waiting for the condition Ready")
end
if ready.status ~= "True" then
  return health("Degraded", ready.reason .. ": " .. ready.message)
end

local enforced = conditions.Enforced
if enforced ~= nil and enforced.status == "False" then
  return health("Degraded", enforced.reason .. ": " .. enforced.message)
end
if enforced ~= nil and enforced.status ~= "True" then
  return health("Progressing", enforced.reason .. ": " .. enforced.message)
end

if conditions.Suspended ~= nil and conditions.Suspended.status == "True" then
  return health("Suspended", conditions.Suspended.reason .. ": " .. conditions.Suspended.message)
end
if obj.spec.disabled then
  return health("Suspended", "Disabled: every key of the account is refused until it is enabled again")
end
return health("Healthy", ready.message)
