-- Writes the ledger, if it stands as its writer knows it, or as this very writing has left it.
--
-- KEYS: the ledger
-- ARGV: the token; last binding and mark before, '' for none; last binding and mark after;
--       then two lists, each its length and that many arguments: fields that go; field, value, ...
-- Answers 1 where it was written, else token, last binding and mark that stand, '' for none.
--
-- Writing it again is harmless, and gives replicas something to confirm.
local token = redis.call('HGET', KEYS[1], 'token') or ''
local bound = redis.call('HGET', KEYS[1], 'bound') or ''
local mark = redis.call('HGET', KEYS[1], 'mark') or ''
local before = bound == ARGV[2] and mark == ARGV[3]
local after = bound == ARGV[4] and mark == ARGV[5]
if token ~= ARGV[1] or not (before or after) then
    return { token, bound, mark }
end
-- The first write: where it is refused, nothing was done, and the refusal is the answer.
local written = redis.pcall('HSET', KEYS[1], 'bound', ARGV[4], 'mark', ARGV[5])
if type(written) == 'table' and written.err then
    return written
end
local at = 6
for i, command in ipairs({ 'HDEL', 'HSET' }) do
    local last = at + tonumber(ARGV[at])
    -- Lua hands over some thousand arguments at most.
    for first = at + 1, last, 2000 do
        redis.call(command, KEYS[1], unpack(ARGV, first, math.min(first + 1999, last)))
    end
    at = last + 1
end
return 1
