-- Empties a ledger but for a new token: a job that still runs is fenced by it.
--
-- KEYS: the ledger
-- ARGV: the token to set
local written = redis.pcall('HSET', KEYS[1], 'token', ARGV[1])
if type(written) == 'table' and written.err then
    return written
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[1])
return 1
