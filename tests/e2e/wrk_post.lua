-- wrk: POSTs of 64 KiB, each answered by the digest that the first argument is.
wrk.method = "POST"
wrk.body = string.rep("0123456789abcdef", 4096)
wrong = 0
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    expected = args[1]
end

function response(status, headers, body)
    if status ~= 200 or body ~= expected then
        wrong = wrong + 1
    end
end

function done()
    local total = 0
    for _, thread in ipairs(threads) do
        total = total + thread:get("wrong")
    end
    io.write("wrong: ", total, "\n")
end
