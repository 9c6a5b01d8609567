-- One flush of one shard, in one step. Nothing is written unless everything that is stored could be read.
--
-- KEYS: watermark, open set, entity...
-- ARGV: base vector, target vector, FoldedAt (8 bytes), then per entity its value and its time to live in milliseconds, then
--       the number of ids to add to the open set and the ids, then per id to remove the index of its entity (0: none) and the id.
-- Returns {status, watermark stored after the call, entities written, entities that were stored already, indices...}
--   status 0  done; the indices are of the entities that are incomparable with what is stored: if there is one, the watermark stays
--          1  refused: the stored watermark does not dominate the base
--          2  refused: the stored watermark is corrupt
--          3  refused: the stored entity at the index is corrupt
--
-- Laws:
--   * An entity is replaced only by a value whose vector dominates the stored one's.
--   * The watermark only grows, and only when every entity of the flush is stored.
--   * An id leaves the open set only when the caller's view of its card is what Redis holds after the call. Adding is always safe: an
--     owner that loads a card that owes nothing takes it out again.
--
-- Bytes are compared by code, never with "<" on strings: that follows the server's locale.

local byte, sub, char, concat = string.byte, string.sub, string.char, table.concat
local VERSION, ZERO = 1, string.rep('\0', 8)

local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- read decodes the vector that starts at position at of s: {n, of = {epoch -> mark}, [i] = {epoch, mark, region}, fin = position
-- after it}; nil when there is none.
local function read(s, at)
  local n = byte(s, at)
  if not n then return nil end
  local fixed, names = at + 1, at + 1 + 16 * n
  local v = { n = n, of = {} }
  for i = 1, n do
    local epoch, mark = sub(s, fixed, fixed + 7), sub(s, fixed + 8, fixed + 15)
    local len = byte(s, names)
    if not len or names + len > #s then return nil end
    if epoch == ZERO or mark == ZERO or v.of[epoch] then return nil end
    v.of[epoch] = mark
    v[i] = { epoch, mark, sub(s, names + 1, names + len) }
    fixed, names = fixed + 16, names + 1 + len
  end
  v.fin = names
  return v
end

local function dominates(v, w)
  for epoch, mark in pairs(w.of) do
    local have = v.of[epoch]
    if not have or (have ~= mark and less(have, mark)) then return false end
  end
  return true
end

-- before orders the entries of a vector: by region, then epoch.
local function before(a, b)
  if a[3] ~= b[3] then return less(a[3], b[3]) end
  return less(a[1], b[1])
end

local function sorted(v)
  for i = 2, v.n do
    if not before(v[i - 1], v[i]) then return false end
  end
  return true
end

-- merge encodes the pointwise maximum of two sorted vectors.
local function merge(v, w)
  local fixed, names, i, j = {}, {}, 1, 1
  while i <= v.n or j <= w.n do
    local a, b, e, mark = v[i], w[j]
    if a and (not b or before(a, b)) then
      e, mark, i = a, a[2], i + 1
    elseif b and (not a or before(b, a)) then
      e, mark, j = b, b[2], j + 1
    else
      e, mark, i, j = a, less(a[2], b[2]) and b[2] or a[2], i + 1, j + 1
    end
    fixed[#fixed + 1] = e[1] .. mark
    names[#names + 1] = char(#e[3]) .. e[3]
  end
  if #fixed > 255 then return nil end
  return char(#fixed) .. concat(fixed) .. concat(names)
end

local base, target, folded = read(ARGV[1], 1), read(ARGV[2], 1), ARGV[3]
if not base or not target or not sorted(target) or #folded ~= 8 then
  return redis.error_reply('MALFORMED flush arguments')
end

-- The stored watermark; a missing one is empty.
local raw = redis.call('GET', KEYS[1]) or ''
local stored, foldedStored = { n = 0, of = {} }, ZERO
if raw ~= '' then
  stored = byte(raw, 1) == VERSION and read(raw, 2)
  if not stored or stored.fin + 7 ~= #raw or not sorted(stored) then return { 2, raw, 0, 0 } end
  foldedStored = sub(raw, stored.fin)
end
if not dominates(stored, base) then return { 1, raw, 0, 0 } end

-- Decide first, for every entity. unpack is bounded by Lua's stack, hence the chunks.
local CHUNK = 1000
local entities = #KEYS - 2
local write, exact, clash, stale = {}, {}, {}, 0
for first = 1, entities, CHUNK do
  local last = math.min(first + CHUNK - 1, entities)
  local values = redis.call('MGET', unpack(KEYS, first + 2, last + 2))
  for i = first, last do
    local value = ARGV[2 + 2 * i]
    local incoming = byte(value, 1) == VERSION and read(value, 2)
    if not incoming then return redis.error_reply('MALFORMED flush entity') end
    local old = values[i - first + 1]
    if not old then
      write[#write + 1] = i
      exact[i] = true
    else
      local had = byte(old, 1) == VERSION and read(old, 2)
      if not had then return { 3, raw, 0, 0, i } end
      local newer, older = dominates(incoming, had), dominates(had, incoming)
      if older then
        stale = stale + 1
        exact[i] = newer
      elseif newer then
        write[#write + 1] = i
        exact[i] = true
      else
        clash[#clash + 1] = i
      end
    end
  end
end
local merged
if #clash == 0 then
  merged = merge(stored, target)
  if not merged then return redis.error_reply('MALFORMED flush: the watermark would have more than 255 origins') end
end

-- Act: the entities, the open set, and the watermark last.
for _, i in ipairs(write) do
  redis.call('SET', KEYS[i + 2], ARGV[2 + 2 * i], 'PX', ARGV[3 + 2 * i])
end
local at = 4 + 2 * entities
local adds = tonumber(ARGV[at])
for first = at + 1, at + adds, CHUNK do
  redis.call('SADD', KEYS[2], unpack(ARGV, first, math.min(first + CHUNK - 1, at + adds)))
end
local ahead = #clash == 0 and dominates(target, stored)
for i = at + adds + 1, #ARGV, 2 do
  local entity = tonumber(ARGV[i])
  if exact[entity] or (entity == 0 and ahead) then redis.call('SREM', KEYS[2], ARGV[i + 1]) end
end
if merged then
  local now = char(VERSION) .. merged .. (less(foldedStored, folded) and folded or foldedStored)
  if now ~= raw then redis.call('SET', KEYS[1], now) end
  raw = now
end

local reply = { 0, raw, #write, stale }
for _, i in ipairs(clash) do reply[#reply + 1] = i end
return reply
