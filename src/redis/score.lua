-- Applies an epoch, or a part of one, to a score key, if the epoch before it stands in the key mark.
--
-- KEYS: the score key, its key mark; the ledger, where it stands on the same server
-- ARGV: the token that must stand in the ledger; 'add' or 'set'; the key mark that must stand, '' for none;
--       the one to set; then number, article, number, article, ...
-- Answers 1 where it was applied, 0 where another token stands, else the key mark that stands, '' for none.
--
-- Two calls for all articles: a call each costs Redis up to twice as much, and is a command each in its
-- append-only file and for its replicas.
if KEYS[3] and redis.call('HGET', KEYS[3], 'token') ~= ARGV[1] then
    return 0
end
for i, right in ipairs({ 'zset', 'string' }) do
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= right and kind ~= 'none' then
        return { err = 'WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind .. ' and not a ' .. right }
    end
end
local stands = redis.call('GET', KEYS[2]) or ''
if stands ~= ARGV[3] then
    return stands
end
local changes = { unpack(ARGV, 5) }
if #changes > 0 and ARGV[2] == 'add' then
    local articles = {}
    for i = 2, #changes, 2 do
        articles[i / 2] = changes[i]
    end
    local scores = redis.call('ZMSCORE', KEYS[1], unpack(articles))
    for i, score in ipairs(scores) do
        changes[2 * i - 1] = tonumber(changes[2 * i - 1]) + tonumber(score or 0)
    end
end
-- The first write: where it is refused, nothing was done, and the refusal is the answer.
if #changes > 0 then
    local written = redis.pcall('ZADD', KEYS[1], unpack(changes))
    if type(written) == 'table' and written.err then
        return written
    end
end
local written = redis.pcall('SET', KEYS[2], ARGV[4])
if type(written) == 'table' and written.err then
    return written
end
return 1
