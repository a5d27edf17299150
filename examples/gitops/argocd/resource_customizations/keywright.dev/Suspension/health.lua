-- Argo CD runs this without Lua's string and math libraries, so it uses neither.
local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}
if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "The suspension is being lifted")
end
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to read this generation")
end

for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Enforced" then
    local message = condition.reason .. ": " .. condition.message
    if condition.status == "True" then
      return health("Healthy", message)
    end
    if condition.status == "False" then
      return health("Degraded", message)
    end
    return health("Progressing", message)
  end
end
return health("Progressing", "Waiting for the condition Enforced")
