-- Arguments: the method, and a file with one request a line. The last line of the output is what was seen, as JSON.
local lines, turn = {}, 0

function init(arguments)
  local method, file = arguments[1], arguments[2]
  local headers = { ["content-type"] = "application/json" }
  for line in io.lines(file) do
    if method == "POST" then
      lines[#lines + 1] = wrk.format("POST", "/v1/plans", headers, line)
    else
      lines[#lines + 1] = wrk.format("GET", line)
    end
  end
end

function request()
  turn = turn % #lines + 1
  return lines[turn]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "errors": %d, "median": %.3f, "p99": %.3f, "longest": %.3f}\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
