"""Lua that several scripts share: how a result is stored, how a task of a chord is counted, how commands are run."""

from __future__ import annotations

from hashlib import sha1


class Script:
    """A Lua script and its hash."""

    def __init__(self, source: str) -> None:
        self.source = source.strip().encode()
        self.sha = sha1(self.source).hexdigest().encode()


#: Whether the record under a key says that the task has succeeded: such a one is not overwritten (Celery's rule).
#: JSON, pickle and msgpack begin with the status.
SUCCEEDED = """
local function succeeded(key)
  local head = redis.call('GETRANGE', key, 0, 63)
  local at = string.find(head, 'status', 1, true)
  return at and string.find(string.sub(head, at + 6, at + 21), '[^%w_%-]SUCCESS[^%u%d_%-]') ~= nil
end
"""

#: Count one task of a chord's header, under the keys that Celery's workers use (`.j` results, `.d` who has been
#: counted, `.s` and `.t` how many there will be, `.c` who sends the body, or "done") and two of ours (`.b` the body, at
#: the end, and the sorted set of chords whose header has ended and whose body is not sent). `i` is where PART stands in
#: ARGV; behind it: the group's key, who is counted (`<task id>:<index>`), index, the part, 1 if ordered, seconds to
#: live of the keys and of the saved group (0 for ever), the body, what to note about the chord, the sorted set's key.
#: Returns nil, or for the last part what was noted, the body, the saved group and the parts.
CHORD_CLAIM, CHORD_CLAIM_TTL, CHORD_DONE_TTL = "celerylite", 30, 300
#: Seconds that the worker which counted the last part has to send the body, before housekeeping does it.
CHORD_GRACE = 1
CHORD = f"""
local function clock()
  local t = redis.call('TIME')
  return t[1] + t[2] / 1000000
end
local function ended(about, key)
  local parts
  if redis.call('TYPE', key .. '.j').ok == 'list' then parts = redis.call('LRANGE', key .. '.j', 0, -1)
  else parts = redis.call('ZRANGE', key .. '.j', 0, -1) end
  return {{about, redis.call('GET', key .. '.b') or '', redis.call('GET', key) or '', parts}}
end
local function part(i)
  local key, ttl, saved_ttl, about = ARGV[i + 1], tonumber(ARGV[i + 6]), tonumber(ARGV[i + 7]), ARGV[i + 9]
  local parts, ordered = key .. '.j', ARGV[i + 5] == '1'
  local known = redis.call('MGET', key .. '.c', key .. '.s', key .. '.t')
  local claim, size = known[1], (known[2] or 0) + (known[3] or 0)
  if claim == 'done' then return nil end
  local count = redis.pcall(ordered and 'ZCARD' or 'LLEN', parts)
  if type(count) == 'table' then  -- the workers are not of one mind about the order
    ordered = not ordered
    count = redis.call(ordered and 'ZCARD' or 'LLEN', parts)
  end
  if redis.call('SADD', key .. '.d', ARGV[i + 2]) == 1 then
    if ordered then count = count + redis.call('ZADD', parts, ARGV[i + 3], ARGV[i + 4])
    else count = redis.call('RPUSH', parts, ARGV[i + 4]) end
  end
  local left = redis.call('TTL', parts)
  if ttl > 0 and (left < 0 or left < ttl - 10) then
    for _, suffix in ipairs({{'.j', '.t', '.s', '.d'}}) do redis.call('EXPIRE', key .. suffix, ttl) end
    if saved_ttl > 0 then redis.call('EXPIRE', key, saved_ttl) end
  end
  if size == 0 or (count < size and redis.call('SCARD', key .. '.d') < size) then return nil end
  redis.call('ZADD', ARGV[i + 10], 'NX', clock() + {CHORD_GRACE}, about)
  redis.call('SET', key .. '.b', ARGV[i + 8])
  if ttl > 0 then redis.call('EXPIRE', key .. '.b', ttl) end
  if claim then return nil end
  redis.call('SET', key .. '.c', '{CHORD_CLAIM}', 'EX', {CHORD_CLAIM_TTL})
  return ended(about, key)
end
"""

#: Work through commands in ARGV from `i` on, each as its number of words and the words; STORE is the result store's
#: own, PART the chord's, KEEP the consumer's: hold a message at once instead of sending it, if nothing else waits. Its
#: words: leases, held, consumer id, lease seconds, field, message, its list, list, list … (all that are taken from).
#: Returns what the last parts gave, behind a 1; without any just 1, or `KEPT`.
KEPT = 3
RUN = f"""
local function keep(i, last)
  if redis.call('EXISTS', unpack(ARGV, i + 7, last)) > 0 then
    redis.call('LPUSH', ARGV[i + 7], ARGV[i + 6])
    return 1
  end
  local t = redis.call('TIME')
  redis.call('ZADD', ARGV[i + 1], t[1] + t[2] / 1000000 + ARGV[i + 4], ARGV[i + 3])
  redis.call('HSET', ARGV[i + 2], ARGV[i + 5], ARGV[i + 6])
  return {KEPT}
end
local function run(i)
  local out = {{1}}
  while i <= #ARGV do
    local n, word = tonumber(ARGV[i]), ARGV[i + 1]
    if word == 'STORE' then
      local key, ttl, record = ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
      if not succeeded(key) then
        if ttl ~= '' then redis.call('SETEX', key, ttl, record) else redis.call('SET', key, record) end
        redis.call('PUBLISH', key, record)
      end
    elseif word == 'PART' then
      out[#out + 1] = part(i + 1)
    elseif word == 'KEEP' then
      out[1] = keep(i + 1, i + n)
    else
      redis.call(unpack(ARGV, i + 1, i + n))
    end
    i = i + n + 1
  end
  return #out > 1 and out or out[1]
end
"""
