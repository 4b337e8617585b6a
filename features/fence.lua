-- Raise a partition's epoch, so that every older worker is refused from here on (PROTOCOL B2).
-- KEYS 1 <p>:generation, 2 <p>:<g>:fence;  ARGV 1 generation, 2 epoch, 3 owner's token.  Returns as commit.lua does.
local generation = redis.call('TYPE', KEYS[1]).ok
if generation ~= 'none' and generation ~= 'string' then return 'KEY ' .. KEYS[1] end
if generation == 'none' or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'GENERATION' end
if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then return 'KEY ' .. KEYS[2] end
if tonumber(redis.call('HGET', KEYS[2], 'epoch')) >= tonumber(ARGV[2]) then return 'FENCED' end
redis.call('HSET', KEYS[2], 'epoch', ARGV[2], 'owner', ARGV[3])
return 'OK'
