//! What Redis does in one step: scripts that count by its own clock. Each touches one key, so a Cluster can run them where that key is.

use std::sync::LazyLock;

use redis::Script;

/// Ticks of a microsecond. What is counted in them from the year 2026 is a whole number of Lua's until 2061.
pub(super) const TICKS: u64 = 8;

/// Where ticks are counted from: the first second of 2026, in seconds of Unix time.
pub(super) const FROM: u64 = 1_767_225_600;

/// The largest whole number that Lua is let count with.
pub(super) const LARGEST: u64 = 1 << 52;

/// Now, in ticks.
macro_rules! now {
    () => {
        "local t = redis.call('TIME')\nlocal now = ((t[1] - 1767225600) * 1000000 + t[2]) * 8\n"
    };
}

/// Takes from a bucket (the generic cell rate algorithm, as in memory): what is kept is when it is full again.
///
/// Given ticks for each, ticks of the whole bucket, how much is wanted, how much at least, how much comes back, and when the bucket is full at
/// the earliest. Gives what was taken, and in how many ticks the bucket is full.
pub(super) static BUCKET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        now!(),
        r"
local each, holds, want, least = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local back, earliest = tonumber(ARGV[5]), tonumber(ARGV[6])
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
full = math.max(full - back * each, earliest, now)
local got = math.max(math.min(want, math.floor((now + holds - full) / each)), 0)
if got < least then got = 0 end
full = full + got * each
if got > 0 or back > 0 then
  if full > now then
    redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 8000))
  else
    redis.call('DEL', KEYS[1])
  end
end
return {got, full - now}"
    ))
});

/// Takes from a window that slides: what was taken is kept by 32nds of it, and counts until all of its part is out.
///
/// Given ticks of a part, how much there may be, and how much is wanted. Gives whether it was taken, how much is left, in how many ticks it
/// will be there, and in how many all of it.
pub(super) static SLIDING: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        now!(),
        r"
local part, most, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local running = math.floor(now / part)
local sum, out, parts = 0, {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at, taken = tonumber(all[i]), tonumber(all[i + 1])
  if at <= running - 33 then
    out[#out + 1] = all[i]
  else
    sum = sum + taken
    parts[#parts + 1] = {at, taken}
  end
end
if #out > 0 then redis.call('HDEL', KEYS[1], unpack(out)) end
table.sort(parts, function(a, b) return a[1] < b[1] end)
local whole = 0
if #parts > 0 then whole = (parts[#parts][1] + 33) * part - now end
if sum + cost > most then
  local wait, gone = 33 * part, 0
  for i = 1, #parts do
    gone = gone + parts[i][2]
    if gone >= sum + cost - most then
      wait = (parts[i][1] + 33) * part - now
      break
    end
  end
  return {0, math.max(most - sum, 0), wait, whole}
end
if cost > 0 then
  redis.call('HINCRBY', KEYS[1], string.format('%.0f', running), cost)
  redis.call('PEXPIRE', KEYS[1], math.ceil(34 * part / 8000))
  whole = 33 * part
end
return {1, most - sum - cost, 0, whole}"
    ))
});

/// Gives back to a window that slides, of what was taken last. Given ticks of a part, and how much.
pub(super) static SLIDING_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        now!(),
        r"
local part, back = tonumber(ARGV[1]), tonumber(ARGV[2])
local running = math.floor(now / part)
for before = 0, 32 do
  if back <= 0 then break end
  local field = string.format('%.0f', running - before)
  local of = math.min(tonumber(redis.call('HGET', KEYS[1], field) or '0'), back)
  if of > 0 then redis.call('HINCRBY', KEYS[1], field, -of) end
  back = back - of
end
return 0"
    ))
});

/// Takes from a window of the calendar, whose end is a part of the key. Given how much there may be, how much is wanted, how much at least,
/// how much comes back, and for how many seconds it is to be known. Gives what was taken, and what is left.
pub(super) static CALENDAR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local most, want, least, back = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local taken = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') - back, 0)
local got = math.max(math.min(want, most - taken), 0)
if got < least then got = 0 end
taken = taken + got
if got > 0 or back > 0 then redis.call('SET', KEYS[1], string.format('%.0f', taken), 'EX', ARGV[5]) end
return {got, math.max(most - taken, 0)}",
    )
});

/// A sign of life of a gateway. `KEYS[1]` is when each was last heard of, `KEYS[2]` what they agree on.
///
/// Given who it is, which state of the list it knows, which servers it speaks with and which it did before, whether it comes back from having
/// counted alone (`alone`), and whether it gave anything meanwhile (`spent`); for how many milliseconds one may be silent, after how many it
/// is forgotten, and after how many all will have come back. Gives how many there are, its place among them, the state of the list, whether
/// all know of that, since when these servers count, since when all count together again, now (all in milliseconds of Unix time), and how many are
/// silent.
pub(super) static BEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local heard, agreed = KEYS[1], KEYS[2]
local own, knows, servers, before, alone, spent = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local silent_after, forget_after, back_after = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local last = tonumber(redis.call('HGET', agreed, 'last') or '0')
if last > 0 and now - last > silent_after then
  -- Nobody was heard: that says nothing of anybody.
  for _, id in ipairs(redis.call('ZRANGE', heard, 0, -1)) do redis.call('ZINCRBY', heard, now - last, id) end
end
redis.call('HSET', agreed, 'last', now)

local changed = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', heard, '-inf', now - forget_after)) do
  redis.call('ZREM', heard, id)
  redis.call('HDEL', agreed, 'knows:' .. id)
  changed = 1
end
if alone == '1' then
  -- It still gives its share: until it does not, the others leave that to it.
  changed = changed + redis.call('ZADD', heard, 'NX', now - silent_after - 1, own)
else
  changed = changed + redis.call('ZADD', heard, now, own)
end
local list = tonumber(redis.call('HGET', agreed, 'list') or '0')
if changed > 0 then list = redis.call('HINCRBY', agreed, 'list', 1) end
redis.call('HSET', agreed, 'knows:' .. own, knows)

local since = tonumber(redis.call('HGET', agreed, 'since') or '0')
local were = redis.call('HGET', agreed, 'servers')
-- Another server, or one that began anew, may have forgotten the last of what it was told.
if (were and were ~= servers) or (not were and before ~= '') then since = math.max(since, now) end
local shared = tonumber(redis.call('HGET', agreed, 'shared') or '0')
if spent == '1' then shared = math.max(shared, now + back_after) end
redis.call('HSET', agreed, 'servers', servers, 'since', string.format('%.0f', since), 'shared', string.format('%.0f', shared))

local count, place, all_know, silent = 0, 0, 1, 0
local all = redis.call('ZRANGE', heard, 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
  count = count + 1
  if all[i] < own then place = place + 1 end
  if tonumber(all[i + 1]) < now - silent_after then silent = silent + 1 end
  if tonumber(redis.call('HGET', agreed, 'knows:' .. all[i]) or '-1') ~= list then all_know = 0 end
end
return {count, place, list, all_know, since, shared, now, silent}",
    )
});

/// A gateway that stops: what it might have given, the others may. Keys as above; given who it is.
pub(super) static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('ZREM', KEYS[1], ARGV[1]) > 0 then redis.call('HINCRBY', KEYS[2], 'list', 1) end
redis.call('HDEL', KEYS[2], 'knows:' .. ARGV[1])
return 0",
    )
});
