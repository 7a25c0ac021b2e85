"""Names of the task plane's keys on Redis, and the scripts that move messages between them.

Queues are kombu's lists (producers push left, consumers take right). What a consumer holds stands in a hash of its own,
field `<sequence>\\0<list>`, so that a message is at every moment in exactly one place. Each script says its keys,
arguments and return value. The clock is the server's.
"""

from __future__ import annotations

from celerylite.brokers.rates import AGAIN, IDLE, IDLE_PERIODS, MAKE_UP
from celerylite.brokers.redis_lua import CHORD, CHORD_CLAIM, CHORD_CLAIM_TTL, CHORD_DONE_TTL, RUN, SUCCEEDED, Script

#: Sorted set: consumer id, scored by when its lease ends.
LEASES = "celerylite.leases"
#: Sorted set: `<list>\0<message>`, scored by when it is due.
DELAYED = "celerylite.delayed"
#: List, newest left: messages that were set aside, as JSON.
DEAD = "celerylite.dead"
#: Hash per consumer: what it holds.
HELD = "celerylite.held."
#: List per consumer with the one message that a blocking take moved there.
INBOX = "celerylite.inbox."
#: Set per consumer: the fields that somebody else took from it; a consumer that comes back from the dead looks here.
MOVED = "celerylite.moved."
MOVED_TTL = 86400
#: Number per consumer: the last settlement of a task that was acknowledged early; a repetition is known by it.
SETTLED = "celerylite.settled."
#: Sorted set in the result store's database: chords whose header has ended and whose body is not sent, scored by when
#: housekeeping takes them on. Member: `<group id>\0<id of the last part>\0<root id>\0<priority>`.
CHORDS = "celerylite.chords"
#: Sorted set: what is revoked (`redis_revoked`), scored by when.
REVOKED = "celerylite.revoked"
#: Hash per task: when its next start is free, where all workers count together (`redis_rates`).
RATE = "celerylite.rate."
#: One key of each kind.
KEYS = (LEASES, DELAYED, DEAD, HELD, INBOX, MOVED, SETTLED, CHORDS, REVOKED, RATE)


#: Most bytes that one take may carry, so that a batch of 10 MB messages does not become a gigabyte.
TAKE_BYTES = 1_000_000

#: Take messages, first of all what a blocking take left in the inbox. KEYS: held, leases, inbox, list, list …
#: ARGV: consumer id, lease seconds, most, first sequence number, most bytes, number of the inbox's list; 0 leaves the
#: inbox alone.
#: Returns list number (from 1), message, list number, message …; sequence numbers go up by one in that order.
TAKE = Script("""
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], t[1] + t[2] / 1000000 + ARGV[2], ARGV[1])
local left, seq, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local out, held = {}, {}
local function keep(number, raw)
  out[#out + 1] = number
  out[#out + 1] = raw
  held[#held + 1] = string.format('%.0f', seq) .. '\0' .. KEYS[3 + number]
  held[#held + 1] = raw
  seq, left, bytes = seq + 1, left - 1, bytes - #raw
end
while left > 0 and ARGV[6] ~= '0' do
  local raw = redis.call('RPOP', KEYS[3])
  if not raw then break end
  keep(tonumber(ARGV[6]), raw)
end
for i = 4, #KEYS do
  while left > 0 and bytes > 0 do
    local most = math.min(left, 10)
    local got = redis.call('RPOP', KEYS[i], most)
    if not got then break end
    for _, raw in ipairs(got) do keep(i - 3, raw) end
    if #got < most then break end
  end
end
if #held > 0 then redis.call('HSET', KEYS[1], unpack(held)) end
return out
""")

#: Every script below that ends a consumer's hold on a message begins so. KEYS[1]: held, KEYS[2]: inbox. ARGV[1]:
#: field, or '' for the inbox, ARGV[2]: then the message (two may be there after a broken connection).
_LET_GO = """
local n
if ARGV[1] == '' then n = redis.call('LREM', KEYS[2], 1, ARGV[2]) else n = redis.call('HDEL', KEYS[1], ARGV[1]) end
"""

#: How a message is named in the set of moved ones.
_NAME = "local name = ARGV[1] ~= '' and ARGV[1] or redis.sha1hex(ARGV[2])\n"

#: Note for a consumer that comes back from the dead that somebody else let go. KEYS[3]: moved, or held once more where
#: it asks itself (an empty key would be in another slot of a cluster).
_NOTE = f"""
if KEYS[3] ~= KEYS[1] then
  {_NAME}
  redis.call('SADD', KEYS[3], name)
  redis.call('EXPIRE', KEYS[3], {MOVED_TTL})
end
"""

#: Reclaiming only: nothing is moved once the owner has come back and renewed its lease. KEYS[5]: leases; last of
#: ARGV: its id.
_GONE = """
if KEYS[5] then
  local t = redis.call('TIME')
  local lease = redis.call('ZSCORE', KEYS[5], ARGV[#ARGV])
  if lease and tonumber(lease) > t[1] + t[2] / 1000000 then return 0 end
end
"""

#: Acknowledge, sure of the answer. KEYS: held, inbox, moved. ARGV: field, message. Returns 1 where the message was
#: ours. A repeated call finds the message gone, but not moved: then it was our own first call that did it.
CLAIM = Script(_LET_GO + """
if n == 1 then return 1 end
""" + _NAME + """
return 1 - redis.call('SISMEMBER', KEYS[3], name)
""")

#: Mark a held message as running, so that whoever spares this consumer leaves it. KEYS: held. ARGV: old field, new
#: field. Returns 1 where it was still held.
MARK = Script("""
local raw = redis.call('HGET', KEYS[1], ARGV[1])
if not raw then return redis.call('HEXISTS', KEYS[1], ARGV[2]) end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[2], raw)
return 1
""")

#: Finish a task. KEYS: held, inbox, moved. ARGV: field, message, 0, and commands. Returns what they gave; where the
#: message was held no more nothing is done, and the answer is 0 if somebody else has taken it, 2 if not: then this is a
#: repetition. Where the message is acknowledged already: KEYS: what was settled last, …; ARGV: the number of this one
#: ('' where repeating does no harm), '', 1, and commands.
SETTLE = Script(SUCCEEDED + CHORD + RUN + """
if ARGV[3] ~= '1' then""" + _LET_GO + """
  if n == 0 then
    """ + _NAME + """
    return 2 - 2 * redis.call('SISMEMBER', KEYS[3], name)
  end
elseif ARGV[1] ~= '' then
  if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return 2 end
  redis.call('SET', KEYS[1], ARGV[1], 'EX', """ + str(MOVED_TTL) + """)
end
return run(4)
""")

#: Finish a chord: send its body, or fail it. KEYS: group, ended chords. ARGV: what was noted, database of the keys ('':
#: this one), this database, and commands. Returns what they gave; 2 where it was done before, 0 where one of Celery's
#: workers is about to do it.
FINISH_CHORD = Script(SUCCEEDED + CHORD + RUN + f"""
if ARGV[2] ~= '' then redis.call('SELECT', ARGV[2]) end
local claim = redis.call('GET', KEYS[1] .. '.c')
if claim and claim ~= 'done' and claim ~= '{CHORD_CLAIM}' then return 0 end
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 or claim == 'done' then return 2 end
for _, suffix in ipairs({{'.j', '.t', '.s', '.d', '.b'}}) do redis.call('DEL', KEYS[1] .. suffix) end
redis.call('SET', KEYS[1] .. '.c', 'done', 'EX', {CHORD_DONE_TTL})
if ARGV[2] ~= '' then redis.call('SELECT', ARGV[3]) end
return run(4)
""")

#: Forget a chord whose body was sent by way of another server. KEYS: group, ended chords. ARGV: what was noted.
DROP_CHORD = Script(f"""
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
for _, suffix in ipairs({{'.j', '.t', '.s', '.d', '.b'}}) do redis.call('DEL', KEYS[1] .. suffix) end
redis.call('SET', KEYS[1] .. '.c', 'done', 'EX', {CHORD_DONE_TTL})
return 1
""")

#: Count parts of chords on a server that is not the broker's. ARGV: PART commands, as for the others. Returns as they.
COUNT_PARTS = Script(SUCCEEDED + CHORD + RUN + "return run(1)")

#: Take on a chord whose body should have been sent by now. KEYS: ended chords. ARGV: the prefix of groups' keys,
#: seconds until somebody else may take it on. Returns nil where there is none, 0 where one needs nothing just now, and
#: else what the last part would have given.
OVERDUE_CHORD = Script(CHORD + f"""
local about = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', clock(), 'LIMIT', 0, 1)[1]
if not about then return nil end
local key = ARGV[1] .. string.sub(about, 1, string.find(about, '\0', 1, true) - 1)
local claim = redis.call('GET', key .. '.c')
if claim == 'done' or redis.call('EXISTS', key .. '.j') == 0 then
  redis.call('ZREM', KEYS[1], about)
  return 0
end
redis.call('ZADD', KEYS[1], clock() + ARGV[2], about)
if claim and claim ~= '{CHORD_CLAIM}' then return 0 end
redis.call('SET', key .. '.c', '{CHORD_CLAIM}', 'EX', {CHORD_CLAIM_TTL})
return ended(about, key)
""")

#: Send a message that is due later. KEYS: leases, delayed, list. ARGV: due, message. Returns 1 where it waits in the
#: delayed set, 0 where no worker of ours lives that could promote it: then it stands in the queue, as Celery's
#: workers want it.
SEND_LATER = Script("""
local t = redis.call('TIME')
if redis.call('ZCOUNT', KEYS[1], t[1] + t[2] / 1000000, '+inf') > 0 then
  redis.call('ZADD', KEYS[2], ARGV[1], KEYS[3] .. '\\0' .. ARGV[2])
  return 1
end
redis.call('LPUSH', KEYS[3], ARGV[2])
return 0
""")

#: Give back messages that were not started, the oldest to the very front. KEYS: held, moved. ARGV: field not to
#: touch ('' none), lowest and highest number to give back, 1 if the consumer itself asks. Returns how many were moved.
RELEASE = Script("""
local all = redis.call('HGETALL', KEYS[1])
local from, upto, found = tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for i = 1, #all, 2 do
  local cut = string.find(all[i], '\0', 1, true)
  local seq = cut and tonumber(string.sub(all[i], 1, cut - 1))
  if seq and all[i] ~= ARGV[1] and seq >= from and seq <= upto then
    found[#found + 1] = {seq, all[i], string.sub(all[i], cut + 1), all[i + 1]}
  end
end
table.sort(found, function(a, b) return a[1] > b[1] end)
for _, entry in ipairs(found) do
  redis.call('RPUSH', entry[3], entry[4])  -- first: in a cluster whose slot is on the move it may be refused
  redis.call('HDEL', KEYS[1], entry[2])
  if ARGV[4] ~= '1' then redis.call('SADD', KEYS[2], entry[2]) end
end
if #found > 0 and ARGV[4] ~= '1' then redis.call('EXPIRE', KEYS[2], """ + str(MOVED_TTL) + """) end
return #found
""")

#: Move one message to the front of its list, as `new`, if it is still held. KEYS: held, inbox, moved, list[, leases].
#: ARGV: field, message, new[, consumer id]. Returns 1 if it was.
RETURN = Script(_GONE + _LET_GO + "if n == 0 then return 0 end" + _NOTE + """
redis.call('RPUSH', KEYS[4], ARGV[3])
return 1
""")

#: Set one message aside, if it is still held. KEYS: held, inbox, moved, dead[, leases].
#: ARGV: field, message, record, most records[, consumer id]. Returns 1 if it was.
BURY = Script(_GONE + _LET_GO + "if n == 0 then return 0 end" + _NOTE + """
redis.call('LPUSH', KEYS[4], ARGV[3])
redis.call('LTRIM', KEYS[4], 0, ARGV[4] - 1)
return 1
""")

#: Let a held message wait. KEYS: held, inbox, held, delayed. ARGV: field, message, `<list>\\0<message>`, seconds from
#: now. Returns 1 if it was held.
DEFER = Script(_LET_GO + "if n == 0 then return 0 end" + """
local t = redis.call('TIME')
redis.call('ZADD', KEYS[4], t[1] + t[2] / 1000000 + ARGV[4], ARGV[3])
return 1
""")

#: Move due messages to the front of their lists, the earliest first in line. KEYS: delayed. ARGV: most.
#: Returns how many were moved, and the seconds until the next is due ('' without any).
PROMOTE = Script("""
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for i = #due, 1, -1 do
  local cut = string.find(due[i], '\\0', 1, true)
  redis.call('RPUSH', string.sub(due[i], 1, cut - 1), string.sub(due[i], cut + 1))
  redis.call('ZREM', KEYS[1], due[i])
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #first == 0 then return {#due, ''} end
return {#due, string.format('%.6f', first[2] - now)}
""")

#: Move deferred messages with a certain text in them to the front of their lists, due or not. KEYS: delayed. ARGV:
#: text, most, first entry to look at, how many to look at, list, list … Returns how many were moved and looked at.
ADVANCE = Script("""
local ours, found = {}, {}
for i = 5, #ARGV do ours[ARGV[i]] = true end
local seen = redis.call('ZRANGE', KEYS[1], ARGV[3], ARGV[3] + ARGV[4] - 1)
for _, entry in ipairs(seen) do
  local cut = string.find(entry, '\\0', 1, true)
  if ours[string.sub(entry, 1, cut - 1)] and string.find(entry, ARGV[1], cut, true) then
    found[#found + 1] = entry
    if #found >= tonumber(ARGV[2]) then break end
  end
end
for i = #found, 1, -1 do
  local cut = string.find(found[i], '\\0', 1, true)
  redis.call('RPUSH', string.sub(found[i], 1, cut - 1), string.sub(found[i], cut + 1))
  redis.call('ZREM', KEYS[1], found[i])
end
return {#found, #seen}
""")

#: Take a start of a rate limit, or a place in its line: `rates.Line.wait`. KEYS: the line. ARGV: period, 1 for who had
#: a place. Returns the seconds to wait.
TAKE_START = Script(f"""
local t = redis.call('TIME')
local now, period, back = t[1] + t[2] / 1000000, tonumber(ARGV[1]), ARGV[2] == '1'
local line = redis.call('HMGET', KEYS[1], 'next', 'free', 'again')
local first, free, again = tonumber(line[1] or 0), tonumber(line[2] or 0), tonumber(line[3] or 0)
local make_up, place = math.min({MAKE_UP}, period), 0
if now >= first and (back or now >= free or now - first > math.max({IDLE}, {IDLE_PERIODS} * period)) then
  first = math.max(first, now - make_up) + period
  if not back then free = math.max(free, now + period) end
else
  local earliest = first + make_up / 2
  if back then
    place = math.max(again, earliest)
    again = place + {AGAIN} * period
  else
    place = math.max(free, earliest, now)
    free = place + period
  end
end
redis.call('HSET', KEYS[1], 'next', string.format('%.6f', first), 'free', string.format('%.6f', free),
  'again', string.format('%.6f', again))
redis.call('EXPIRE', KEYS[1], math.ceil(math.max(first, free, again) - now) + 60)
return place == 0 and '0' or string.format('%.6f', math.max(place - now, 0.001))
""")

#: Extend leases. KEYS: leases. ARGV: seconds, consumer id, consumer id … Returns nothing.
RENEW = Script("""
local t = redis.call('TIME')
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], t[1] + t[2] / 1000000 + ARGV[1], ARGV[i]) end
""")

#: Consumers whose lease has run out. KEYS: leases. Returns their ids, and the seconds until the next lease ends (''
#: without any).
EXPIRED = Script("""
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
local first = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.6f', now), '+inf', 'WITHSCORES', 'LIMIT',
0, 1) if #first == 0 then return {gone, ''} end
return {gone, string.format('%.6f', first[2] - now)}
""")

#: Forget a consumer that holds nothing. KEYS: leases, held, inbox. ARGV: consumer id, seconds since its lease ended
#: at the least ('' if the consumer itself asks). Returns 1 if it was forgotten.
FORGET = Script("""
if redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 then return 0 end
if ARGV[2] ~= '' then
  local t = redis.call('TIME')
  local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if lease and lease + ARGV[2] > t[1] + t[2] / 1000000 then return 0 end
end
return redis.call('ZREM', KEYS[1], ARGV[1])
""")

#: Put a message that was set aside back at the end of its queue. KEYS: dead, list. ARGV: record, message. Returns 1
#: if it was there.
REVIVE = Script("""
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
return 1
""")

#: Which keys and channels our user may not write to; nothing is changed. ARGV: how many keys, keys, channels. Returns
#: their names. Keys stand in ARGV, because with those in KEYS the server would refuse the whole script.
PROBE = Script("""
local function refused(...)
  local reply = redis.pcall(...)
  local text = type(reply) == 'table' and reply.err
  return text and (string.find(text, 'NOPERM') or string.find(text, 'permission') or string.find(text, "can't"))
end
local out = {}
if refused('TIME') then out[1] = 'the command TIME' end
for i = 2, #ARGV do
  local no
  if i - 1 <= tonumber(ARGV[1]) then no = refused('LTRIM', ARGV[i], 0, -1)
  else no = refused('LTRIM', ARGV[i], 0, -1) or refused('PUBLISH', ARGV[i], '') end
  if no then out[#out + 1] = ARGV[i] end
end
return out
""")

#: Count a slice of the delayed messages. KEYS: delayed. ARGV: first, how many. Returns how many there were, list, its
#: number, list, its number …
COUNT_DELAYED = Script("""
local found = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[1] + ARGV[2] - 1)
local counts = {}
for _, entry in ipairs(found) do
  local list = string.sub(entry, 1, string.find(entry, '\\0', 1, true) - 1)
  counts[list] = (counts[list] or 0) + 1
end
local out = {#found}
for list, count in pairs(counts) do
  out[#out + 1] = list
  out[#out + 1] = count
end
return out
""")

#: Move delayed messages to the ends of their lists, due or not, the earliest first. KEYS: delayed. ARGV: most.
#: Returns how many were moved.
UNDELAY = Script("""
local found = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)
for _, entry in ipairs(found) do
  local cut = string.find(entry, '\\0', 1, true)
  redis.call('LPUSH', string.sub(entry, 1, cut - 1), string.sub(entry, cut + 1))
  redis.call('ZREM', KEYS[1], entry)
end
return #found
""")

# -- what kombu's consumers hold

#: Messages that kombu's consumers have held for too long. KEYS: unacked, index. ARGV: seconds, most.
#: Returns tag, note, tag, note …, the latest first; a tag without a note is deleted.
OVERDUE = Script("""
local t = redis.call('TIME')
local before = string.format('%.6f', t[1] + t[2] / 1000000 - ARGV[1])
local out = {}
for _, tag in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], before, '-inf', 'LIMIT', 0, ARGV[2])) do
  local note = redis.call('HGET', KEYS[1], tag)
  if note then
    out[#out + 1] = tag
    out[#out + 1] = note
  else
    redis.call('ZREM', KEYS[2], tag)
  end
end
return out
""")

#: Move one of them, if it is still there and still overdue (it keeps its tag when it is taken again). KEYS: unacked,
#: index, list, list … ARGV: tag, seconds, RPUSH or LPUSH, message. Returns 1 if it was.
RESTORE = Script("""
local t = redis.call('TIME')
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not score or tonumber(score) > t[1] + t[2] / 1000000 - ARGV[2] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 3, #KEYS do redis.call(ARGV[3], KEYS[i], ARGV[4]) end
return 1
""")

# -- beat: notebooks and claims

#: Hash per notebook: its notes, and under the empty name its version.
NOTEBOOK = "celerylite.notebook."

#: One claim: publish if the note still says what was seen. KEYS: notebook, leases, delayed, list, list …
#: ARGV: note, seen ('' none), value, then for each list due ('' at once) and message. Returns nothing where that is
#: done or was done before, else what the note says.
CLAIM_NOTE = Script("""
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if found == ARGV[3] then return false end
if found ~= ARGV[2] then return found end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
local promoted
for i = 4, #KEYS do
  local due, raw = ARGV[2 * i - 4], ARGV[2 * i - 3]
  if due ~= '' and promoted == nil then
    local t = redis.call('TIME')
    promoted = redis.call('ZCOUNT', KEYS[2], t[1] + t[2] / 1000000, '+inf') > 0
  end
  if due ~= '' and promoted then
    redis.call('ZADD', KEYS[3], due, KEYS[i] .. '\\0' .. raw)
  else
    redis.call('LPUSH', KEYS[i], raw)
  end
end
return false
""")

#: Change a notebook. KEYS: notebook. ARGV: the version that it must have ('' any), how many notes to write, note,
#: value …, notes to delete … Returns 1 if it was done. Versions are times, so that none comes again after a flush.
CHANGE_NOTES = Script("""
local version = redis.call('HGET', KEYS[1], '') or '0'
if ARGV[1] ~= '' and ARGV[1] ~= version then return 0 end
local t = redis.call('TIME')
version = math.max(version + 1, t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('HSET', KEYS[1], '', string.format('%.0f', version))
local written = 2 + 2 * ARGV[2]
for i = 3, written, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = written + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
return 1
""")

ALL = (
    TAKE, CLAIM, MARK, SETTLE, SEND_LATER, RELEASE, RETURN, BURY, DEFER, PROMOTE, RENEW, EXPIRED, FORGET, REVIVE,
    OVERDUE, RESTORE, COUNT_DELAYED, UNDELAY, CLAIM_NOTE, CHANGE_NOTES, FINISH_CHORD, ADVANCE, TAKE_START,
)  # fmt: skip
