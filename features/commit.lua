-- One commit of one partition: check the fence, validate everything, then write everything (PROTOCOL A2).
-- Lua does not roll back, so nothing is written before the last check; the first write is a command that
-- a store without memory refuses (HSET), so "out of memory" also comes before anything is written. A command that
-- the user may not run would fail in the middle as well: all are asked for first, where the server can tell (Redis 7).
--
-- KEYS, all in the partition's slot; <p> = {namespace:partition}, <g> = generation
--   1  <p>:generation        string  the generation that is live here (PROTOCOL H1)
--   2  <p>:<g>:fence         hash    epoch, owner (token of whoever raised it; absent in older states),
--                                    last, parent, state (JSON: applied offset, day, sweep, counters),
--                                    buckets of the sweep's order, absent where it is one,
--                                    crc (of last, parent, state), outbox_crc: CRC-32; absent in older states
--   3  <p>:<g>:outbox        string  what the last commit publishes (PROTOCOL A5)
--   4  <p>:<g>:statistics    string  clusters' statistics of the running or last sweep (PROTOCOL C4)
--   5  <p>:<g>:index         zset    customer id -> sweep position; where there are several buckets
--                                    (features.redis_index), the first: <p>:<g>:index:0
--   6  <p>:<g>:days          list    day log, one JSON entry a sweep (PROTOCOL C5)
--   7  <p>:<g>:snapshots     hash    sweep number -> statistics of a finished sweep (PROTOCOL C6)
--   8  <p>:<g>:erased        hash    keyed hash of an erased customer -> mark (PROTOCOL H4)
--   9  <p>:<g>:sample:<n>    string  sampled vectors of sweep n, appended
--  10  <p>:<g>:touched:<n>   string  vectors of events under sweep n, appended (only learners that need them)
--  11  <p>:<g>:sample:<n-2>, 12 <p>:<g>:touched:<n-3>   dropped when sweep n begins
--  13  <p>:<g>:daily        zset    row of the daily table, JSON, one a finished sweep -> its day (consumer.tally)
--  14.. <p>:<g>:c:<id>       string  states to write (new customers first), then states to delete,
--                                    then rows to replace, then the buckets that change
-- ARGV: 1 generation, 2 epoch, 3 parent, 4 id, 5 state, 6 outbox, 7 statistics or '', 8 day entry or '',
--   9 sample rows, 10 touched rows, 11 begins ('1' or '0'), 12 snapshot's sweep or '', 13 snapshot,
--  14 snapshot to drop, 15 states written, 16 of them new, 17 deleted, 18 marks, 19 rows replaced,
--  20 what to store as parent: the parent, but after a divergence the commit that Kafka knows (PROTOCOL B4),
--  21 checksum of 4, 20 and 5, 22 checksum of the outbox, 23 owner's token,
--  24 row of the daily table or '', 25 its day, 26 the first day whose rows are kept,
--  27 buckets that the partition has, 28 buckets that change;
--   then the states, hash and mark of each mark, the rows, and of each bucket that changes: how many come, how many go,
--   position and id of each that comes, id of each that goes.
-- Returns 'OK', or the reason of the refusal: 'GENERATION', 'FENCED', 'STEP', 'KEY <key>', or
-- 'RIGHT <command>'.

local FIXED_KEYS, FIXED_ARGS = 13, 28
local TYPES = {
  'string', 'hash', 'string', 'string', 'zset', 'list', 'hash', 'hash', 'string', 'string', 'string', 'string', 'zset',
}

local generation = redis.call('TYPE', KEYS[1]).ok
if generation ~= 'none' and generation ~= 'string' then return 'KEY ' .. KEYS[1] end
if generation == 'none' or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'GENERATION' end
if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then return 'KEY ' .. KEYS[2] end
local stored = redis.call('HMGET', KEYS[2], 'epoch', 'last', 'owner', 'buckets')
-- The number alone is not ours: Redis may lose a raise, and the next owner comes to the same one.
if stored[1] ~= ARGV[2] or (stored[3] or '') ~= ARGV[23] then return 'FENCED' end
if stored[2] == ARGV[4] then return 'OK' end  -- our own commit, its reply was lost
if stored[2] ~= ARGV[3] then return 'STEP' end
-- The keys were named for another load of this generation: whoever takes the partition over reads the number anew.
if (stored[4] or '1') ~= ARGV[27] then return 'STEP' end

local WRITES = {
  {'HSET', KEYS[2], '', ''}, {'SET', KEYS[3], ''}, {'RPUSH', KEYS[6], ''}, {'DEL', KEYS[9]}, {'APPEND', KEYS[9], ''},
  {'HDEL', KEYS[7], ''}, {'MSET', KEYS[3], ''}, {'ZADD', KEYS[5], 0, ''}, {'ZREM', KEYS[5], ''},
}
for _, write in ipairs(redis.acl_check_cmd and WRITES or {}) do
  if not redis.acl_check_cmd(unpack(write)) then return 'RIGHT ' .. write[1]:lower() end
end
for i = 3, FIXED_KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'none' and kind ~= TYPES[i] then return 'KEY ' .. KEYS[i] end
end
local written, created, deleted = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17])
local marks, replaced, buckets = tonumber(ARGV[18]), tonumber(ARGV[19]), tonumber(ARGV[28])
for i = #KEYS - buckets + 1, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'none' and kind ~= 'zset' then return 'KEY ' .. KEYS[i] end
end
-- A key of a wrong type reads as absent; then the customer counted as new, and his key must not exist.
for i = FIXED_KEYS + 1, FIXED_KEYS + created do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 'KEY ' .. KEYS[i] end
end

redis.call('HSET', KEYS[2], 'last', ARGV[4], 'parent', ARGV[20], 'state', ARGV[5], 'crc', ARGV[21], 'outbox_crc', ARGV[22])
redis.call('SET', KEYS[3], ARGV[6])
if ARGV[7] ~= '' then redis.call('SET', KEYS[4], ARGV[7]) end
if ARGV[8] ~= '' then redis.call('RPUSH', KEYS[6], ARGV[8]) end
if ARGV[11] == '1' then redis.call('DEL', KEYS[9], KEYS[10], KEYS[11], KEYS[12]) end
if ARGV[9] ~= '' then redis.call('APPEND', KEYS[9], ARGV[9]) end
if ARGV[10] ~= '' then redis.call('APPEND', KEYS[10], ARGV[10]) end
if ARGV[12] ~= '' then
  redis.call('HSET', KEYS[7], ARGV[12], ARGV[13])
  redis.call('HDEL', KEYS[7], ARGV[14])
end
if ARGV[24] ~= '' then
  redis.call('ZADD', KEYS[13], ARGV[25], ARGV[24])
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[13], '-inf', '(' .. ARGV[26])) do
    redis.call('ZREM', KEYS[13], old)
  end
end

local STRIDE = 1000  -- unpack() has a limit near 8000 values
local arg, key = FIXED_ARGS, FIXED_KEYS
for low = 1, written, STRIDE do
  local pairs_of = {}
  for i = low, math.min(low + STRIDE - 1, written) do
    pairs_of[#pairs_of + 1] = KEYS[key + i]
    pairs_of[#pairs_of + 1] = ARGV[arg + i]
  end
  redis.call('MSET', unpack(pairs_of))
end
arg, key = arg + written, key + written
for i = 1, deleted do redis.call('DEL', KEYS[key + i]) end
key = key + deleted
for i = 1, marks do redis.call('HSET', KEYS[8], ARGV[arg + 2 * i - 1], ARGV[arg + 2 * i]) end
arg = arg + 2 * marks
for i = 1, replaced do redis.call('SET', KEYS[key + i], ARGV[arg + i]) end
arg, key = arg + replaced, key + replaced
for i = 1, buckets do
  local come, go = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
  arg = arg + 2
  for low = 1, come, STRIDE do
    redis.call('ZADD', KEYS[key + i], unpack(ARGV, arg + 2 * low - 1, arg + 2 * math.min(low + STRIDE - 1, come)))
  end
  arg = arg + 2 * come
  for n = 1, go do redis.call('ZREM', KEYS[key + i], ARGV[arg + n]) end
  arg = arg + go
end
return 'OK'
