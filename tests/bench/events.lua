-- What wrk sends: events that are all different, or the same thousand again and again.
-- Arguments: unique or duplicates, a stamp that makes the ids of this run its own, what stands before and after an id.
local kind, stamp, before, after
local headers = { ["content-type"] = "application/json" }
local n = 0

function init(args)
  kind, stamp, before, after = args[1], args[2], args[3], args[4]
end

function request()
  n = n + 1
  local number = kind == "unique" and n or n % 1000
  return wrk.format("POST", nil, headers, before .. stamp .. string.format("%09d", number) .. after)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\n{"requests": %d, "seconds": %.6f, "failed": %d}\n', summary.requests,
    summary.duration / 1e6, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
