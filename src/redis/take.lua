-- Takes a new token, if the one that stands is the one that was found.
--
-- KEYS: ledger
-- ARGV: the token that must stand, '' for none; the one to set
-- Answers the token that stands now.
local token = redis.call('HGET', KEYS[1], 'token') or ''
if token == ARGV[1] or token == ARGV[2] then
    local written = redis.pcall('HSET', KEYS[1], 'token', ARGV[2])
    if type(written) == 'table' and written.err then
        return written
    end
    return ARGV[2]
end
return token
