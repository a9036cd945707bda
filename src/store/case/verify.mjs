#!/usr/bin/env node
/*
 * Checks a case without the program that made it. Needs Node.js 18 or later and nothing else:
 *
 *     node verify.mjs [DIRECTORY] [--public-key FILE] [--anchor FILE]
 *
 * Proves, and names whatever does not hold:
 *
 *     record    its bytes lie at its offset in its object
 *     object    its bytes have the digest of its session row, as received and decoded
 *     session   its row stands in a session file
 *     file      has the digest of its manifest
 *     manifest  has the digest that a link of the chain names
 *     link      is signed, and each follows the one before, up to the anchor
 *     case      every file is as the signed list in case.json has it
 *
 * A key that lies in the case proves only that the case is one piece. Get the public key, or its id, from somebody you
 * trust, and give it with --public-key; likewise an anchor from another place with --anchor.
 *
 * Exit status: 0 everything is proven, 1 something is at fault, 3 no fault, but some records have no object to be found in.
 */
import { createHash, createPublicKey, verify } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { gunzipSync } from 'node:zlib'

const faults = []
const fault = (what, why) => faults.push(`${what}: ${why}`)

function main() {
  const { directory, publicKey, anchorFile } = parseArguments(process.argv.slice(2))
  const path = (name) => join(directory, name)
  const facts = parseJson(readFileSync(path('case.json')), 'case.json')
  const keys = publicKeys(publicKey ? [publicKey] : [path('public-key.pem')])
  checkSignature('case.json', facts, keys)
  checkFiles(directory, facts.files)

  const anchor = parseJson(readFileSync(path('anchor.json')), 'anchor.json')
  checkSignature('anchor.json', anchor, keys)
  const links = readLinks(readFileSync(path('links.ndjson')), facts.chain, keys)
  againstAnchor(links, facts.chain, anchor, 'anchor.json')
  if (anchorFile) {
    const other = parseJson(readFileSync(anchorFile), anchorFile)
    checkSignature(anchorFile, other, keys)
    againstAnchor(links, facts.chain, other, anchorFile)
  }

  const manifests = readManifests(readFileSync(path('manifests.ndjson')), links)
  const rows = new Map()
  for (const name of readdirSync(path('segments')).sort()) {
    const bytes = readFileSync(path(join('segments', name)))
    const manifest = manifests.get(name)
    if (!manifest) fault(`segments/${name}`, 'no manifest of it is proven')
    else if (sha256(bytes) !== manifest.sha256) fault(`segments/${name}`, 'its digest is not that of its manifest')
    else
      attempt(`segments/${name}`, () => {
        for (const row of parquetRows(bytes)) rows.set(row.session_id, row)
      })
  }
  for (const line of jsonLines(path('sessions.ndjson')))
    attempt('sessions.ndjson', () => checkSession(line.value, rows.get(line.value.session_id)))

  const objects = new Map()
  for (const name of readdirSync(path('objects')).sort())
    attempt(`objects/${name}`, () => {
      const session = Number.parseInt(name, 10)
      const row = rows.get(session)
      if (!row) throw new Error('no session of it is proven')
      const received = readFileSync(path(join('objects', name)))
      if (sha256(received) !== row.sha256_received) throw new Error('its digest is not that of its session')
      const decoded = decode(received, row.codec, row.decoded_size)
      if (sha256(decoded) !== row.sha256_decoded) throw new Error('it decodes to other bytes than its session says')
      objects.set(session, decoded)
    })

  const records = readFileSync(path('records.bin'))
  const byUid = new Map()
  let proven = 0
  for (const { value, number } of jsonLines(path('records.ndjson')))
    attempt(`records.ndjson line ${number}`, () => {
      const row = rows.get(value.session)
      if (!row) throw new Error('no session of it is proven')
      if (uidOf(row, value.ordinal) !== value.uid) throw new Error('its uid is not that of its object and place')
      const bytes = records.subarray(value.at, value.at + value.length)
      byUid.set(value.uid, bytes)
      const object = objects.get(value.session)
      if (!object) return
      const there = object.subarray(value.offset, value.offset + value.length)
      if (value.length !== bytes.length || !there.equals(bytes))
        throw new Error('its bytes are not those at its offset')
      proven += 1
    })
  let [events, verbatim] = [0, 0]
  for (const { value, number } of jsonLines(path('events.ndjson'))) {
    events += 1
    const record = byUid.get(value.uid)
    if (!record) fault(`events.ndjson line ${number}`, 'no record of it is proven')
    else if (value.data !== undefined && Buffer.from(value.data).equals(record)) verbatim += 1
  }
  if (events !== facts.events) fault('events.ndjson', `${events} events instead of ${facts.events}`)

  for (const line of faults) console.log(`FAULT  ${printable(line)}`)
  const open = events - proven
  const trust = publicKey ? 'the key that you gave' : 'the key in the case: compare its id with its owner'
  console.log(`signed by ${[...keys.keys()].join(', ')} (${trust})`)
  console.log(
    `${faults.length} faults; ${proven} of ${events} records proven in ${objects.size} objects, ` +
      `${rows.size} sessions, ${links.length} links up to ${facts.chain.number}`,
  )
  console.log(`${verbatim} events have their record as text; the others say it in another form`)
  if (open > 0 && faults.length === 0) console.log(`${open} records have no object in the case; case.json says why`)
  return faults.length > 0 ? 1 : open > 0 ? 3 : 0
}

function parseArguments(given) {
  const found = { directory: '.', publicKey: undefined, anchorFile: undefined }
  for (let i = 0; i < given.length; i++) {
    if (given[i] === '--public-key') found.publicKey = given[++i]
    else if (given[i] === '--anchor') found.anchorFile = given[++i]
    else found.directory = given[i]
  }
  return found
}

function attempt(what, check) {
  try {
    check()
  } catch (error) {
    fault(what, error.message)
  }
}

// --- signatures, digests, chain ---

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

function parseJson(bytes, what) {
  try {
    const value = JSON.parse(Buffer.from(bytes).toString('utf8'))
    if (typeof value !== 'object' || value === null) throw new Error('no object')
    return value
  } catch (error) {
    throw new Error(`${what} is no JSON: ${error.message}`)
  }
}

function* jsonLines(path) {
  let number = 0
  for (const line of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
    number += 1
    try {
      yield { number, value: JSON.parse(line), line }
    } catch (error) {
      fault(path, `line ${number} is no JSON: ${error.message}`)
    }
  }
}

/** RFC 8785: keys in the order of their code units. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const keys = Object.keys(value).filter((key) => value[key] !== undefined)
  return `{${keys
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`)
    .join(',')}}`
}

function publicKeys(files) {
  return new Map(
    files.map((file) => {
      const key = createPublicKey(readFileSync(file))
      return [sha256(key.export({ type: 'spki', format: 'der' })).slice(0, 16), key]
    }),
  )
}

function checkSignature(what, value, keys) {
  const { sig, ...signed } = value
  const key = keys.get(value.key)
  if (!key) return fault(what, `signed by key ${value.key}, which is not trusted`)
  if (!verify(null, Buffer.from(canonical(signed)), key, Buffer.from(String(sig), 'base64')))
    fault(what, `its signature is not that of key ${value.key}`)
}

function checkFiles(directory, listed) {
  const expected = new Map(listed.map((file) => [file.name, file]))
  for (const name of filesBelow(directory)) {
    const file = expected.get(name)
    expected.delete(name)
    if (name === 'case.json') continue
    if (!file) fault(name, 'it is not of the case')
    else {
      const bytes = readFileSync(join(directory, name))
      if (bytes.length !== file.size || sha256(bytes) !== file.sha256) fault(name, 'it is not as the case was made')
    }
  }
  for (const name of expected.keys()) fault(name, 'it is missing')
}

function filesBelow(root, directory = root) {
  return readdirSync(directory)
    .sort()
    .flatMap((name) => {
      const path = join(directory, name)
      return statSync(path).isDirectory() ? filesBelow(root, path) : [relative(root, path).split('\\').join('/')]
    })
}

function readLinks(bytes, chain, keys) {
  const links = []
  let prev
  for (const line of bytes.toString('utf8').split('\n').slice(0, -1)) {
    const link = parseJson(line, 'a link')
    const what = `link ${link.number} of ${link.collection}`
    checkSignature(what, link, keys)
    if (link.collection !== chain.collection) fault(what, `it is of another collection than ${chain.collection}`)
    const before = links.at(-1)
    if (before && (link.prev !== prev || link.number !== before.number + 1))
      fault(what, 'it does not follow the one before')
    prev = sha256(`${line}\n`)
    links.push({ number: link.number, hash: prev, body: link.body })
  }
  return links
}

function againstAnchor(links, chain, anchor, what) {
  const head = anchor.chains.find(({ collection }) => collection === chain.collection)
  if (!head) return fault(what, `it knows no chain of ${chain.collection}`)
  const last = links.at(-1)
  const found = links.find(({ number }) => number === head.number)
  if (head.number > (last?.number ?? 0))
    fault(what, `it knows ${head.number} links, the chain here ends at ${last?.number}`)
  else if (found && found.hash !== head.hash) fault(what, `it knows another link ${head.number}`)
  else if (!found && head.number >= (links[0]?.number ?? 0)) fault(what, `link ${head.number} is not here`)
}

/** By file name: manifests whose digest a link names, for the file of the same digest. */
function readManifests(bytes, links) {
  const named = new Map()
  for (const { body } of links) for (const file of body.segment?.files ?? []) named.set(file.manifest, file)
  const found = new Map()
  for (const line of bytes.toString('utf8').split('\n').slice(0, -1)) {
    const manifest = parseJson(line, 'a manifest')
    const file = named.get(sha256(`${line}\n`))
    if (!file) fault(`manifest of ${manifest.filename}`, 'no link here names it')
    else if (file.sha256 !== manifest.sha256 || file.name !== manifest.filename)
      fault(`manifest of ${manifest.filename}`, 'its link names another file')
    else found.set(manifest.filename, manifest)
  }
  return found
}

function checkSession(told, row) {
  if (!row) throw new Error(`session ${told.session_id} stands in no proven file`)
  for (const [name, value] of Object.entries(row))
    if ((told[name] ?? null) !== value) throw new Error(`session ${told.session_id}: ${name} is not as its file has it`)
}

/** 10 bytes of SHA-256 over source, bucket, key and version, each behind its length; 6 bytes of place. */
function uidOf(row, ordinal) {
  const parts = [row.source, row.bucket, row.key, row.version].flatMap((text) => {
    const bytes = Buffer.from(text)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.length)
    return [length, bytes]
  })
  return sha256(Buffer.concat(parts)).slice(0, 20) + ordinal.toString(16).padStart(12, '0')
}

/** What stands in logs is hostile: nothing but visible characters reaches the terminal. */
const printable = (text) => text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g, '?')

function decode(received, codec, size) {
  if (codec === 'gzip') return gunzipSync(received, { maxOutputLength: Math.max(1, size) })
  return codec === 'zstd' ? zstd(received, size) : received
}

// --- session files: Parquet with integers, texts, dictionaries and zstd pages ---

function parquetRows(bytes) {
  const length = bytes.readUInt32LE(bytes.length - 8)
  const footer = thrift(bytes, bytes.length - 8 - length).value
  const nullable = new Map(footer[2].slice(1).map((element) => [String(element[4]), element[3] === 1]))
  const rows = []
  for (const group of footer[4]) {
    const count = group[3]
    const first = rows.length
    for (let i = 0; i < count; i++) rows.push({})
    for (const { 3: meta } of group[1]) {
      const name = String(meta[3][0])
      const values = columnValues(bytes, meta, nullable.get(name), count)
      for (let i = 0; i < count; i++) rows[first + i][name] = values[i]
    }
  }
  return rows
}

function columnValues(bytes, meta, isNullable, count) {
  const isText = meta[1] === 6
  const values = []
  let dictionary = []
  let at = meta[11] === undefined ? meta[9] : Math.min(meta[11], meta[9])
  const end = at + meta[7]
  while (at < end) {
    const head = thrift(bytes, at)
    const page = head.value
    at = head.at + page[3]
    const raw = bytes.subarray(head.at, at)
    const body = meta[4] === 6 ? zstd(raw, page[2]) : raw
    if (page[1] === 2) {
      dictionary = plainTexts(body, page[7][1])
      continue
    }
    const [rows, encoding] = [page[5][1], page[5][2]]
    let from = 0
    let levels
    if (isNullable) {
      from = 4 + body.readUInt32LE(0)
      levels = hybrid(body, 4, 1, rows)
    }
    const present = levels ? levels.reduce((sum, level) => sum + level, 0) : rows
    let found
    if (encoding === 5) found = delta(body, from, present).values
    else if (encoding === 0 && !isText)
      found = Array.from({ length: present }, (_, i) => Number(body.readBigInt64LE(from + 8 * i)))
    else if (encoding === 6) {
      const lengths = delta(body, from, present)
      let start = lengths.at
      found = lengths.values.map((size) => {
        start += size
        return body.toString('utf8', start - size, start)
      })
    } else found = hybrid(body, from + 1, body[from], present).map((id) => dictionary[id])
    let next = 0
    for (let i = 0; i < rows; i++) values.push(!levels || levels[i] === 1 ? found[next++] : null)
  }
  if (values.length !== count) throw new Error('a column has other rows than its group')
  return values
}

function plainTexts(body, count) {
  let at = 0
  return Array.from({ length: count }, () => {
    const start = at + 4
    at = start + body.readUInt32LE(at)
    return body.toString('utf8', start, at)
  })
}

function varint(bytes, at) {
  let [value, factor] = [0, 1]
  for (;;) {
    const byte = bytes[at++]
    if (byte === undefined) throw new Error('it ends too soon')
    value += (byte & 127) * factor
    if (byte < 128) return [value, at]
    factor *= 128
  }
}

const unzigzag = (value) => (value % 2 === 0 ? value / 2 : -(value + 1) / 2)

/** Thrift's compact protocol: structs as objects by field id. */
function thrift(bytes, start) {
  let at = start
  const number = () => {
    const [value, next] = varint(bytes, at)
    at = next
    return value
  }
  const value = (type) => {
    if (type === 1 || type === 2) return type === 1
    if (type === 3) return bytes[at++]
    if (type <= 6) return unzigzag(number())
    if (type === 8) {
      const length = number()
      at += length
      return bytes.subarray(at - length, at)
    }
    if (type === 9) {
      const head = bytes[at++]
      const length = head >> 4 === 15 ? number() : head >> 4
      return Array.from({ length }, () => value(head & 15))
    }
    if (type === 12) return struct()
    throw new Error(`metadata of type ${type}`)
  }
  const struct = () => {
    const fields = {}
    let id = 0
    for (;;) {
      const head = bytes[at++]
      if (head === undefined) throw new Error('it ends too soon')
      if (head === 0) return fields
      id = head >> 4 === 0 ? unzigzag(number()) : id + (head >> 4)
      fields[id] = value(head & 15)
    }
  }
  return { value: struct(), at }
}

/** Runs and bit-packed groups of ids. */
function hybrid(bytes, start, width, count) {
  const ids = []
  let at = start
  while (ids.length < count) {
    if (width === 0) return new Array(count).fill(0)
    const [head, next] = varint(bytes, at)
    at = next
    if (head % 2 === 0) {
      let value = 0
      for (let shift = 0; shift < width; shift += 8) value += bytes[at++] * 2 ** shift
      for (let i = 0; i < head / 2 && ids.length < count; i++) ids.push(value)
    } else {
      const groups = (head - 1) / 2
      for (let i = 0; i < groups * 8 && ids.length < count; i++) ids.push(bitsAt(bytes, at * 8 + i * width, width))
      at += groups * width
    }
  }
  return ids
}

/** DELTA_BINARY_PACKED. */
function delta(bytes, start, count) {
  let at = start
  const number = () => {
    const [value, next] = varint(bytes, at)
    at = next
    return value
  }
  const [block, minis] = [number(), number()]
  number()
  let value = unzigzag(number())
  const values = count > 0 ? [value] : []
  const size = block / minis
  while (values.length < count) {
    const least = unzigzag(number())
    const widths = bytes.subarray(at, at + minis)
    at += minis
    for (let mini = 0; mini < minis && values.length < count; mini++) {
      for (let i = 0; i < size && values.length < count; i++) {
        value += least + bitsAt(bytes, at * 8 + i * widths[mini], widths[mini])
        values.push(value)
      }
      at += (size * widths[mini]) / 8
    }
  }
  return { values, at }
}

/** `width` bits from a bit on, the least first; a double. */
function bitsAt(bytes, from, width) {
  let value = 0
  for (let done = 0; done < width; ) {
    const shift = (from + done) % 8
    const take = Math.min(8 - shift, width - done)
    const byte = bytes[Math.floor((from + done) / 8)] ?? 0
    value += ((byte >> shift) & (2 ** take - 1)) * 2 ** done
    done += take
  }
  return value
}

// --- zstd (RFC 8878), for versions of Node that have none ---

const LITERAL_LENGTHS = [
  4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1,
]
const MATCH_LENGTHS = [1, 4, 3, 2, 2, 2, 2, 2, 2, ...new Array(37).fill(1), -1, -1, -1, -1, -1, -1, -1]
const OFFSETS = [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1]
const LITERAL_BITS = [...new Array(16).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
const MATCH_BITS = [...new Array(32).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]

/** The first value of each code: behind those of the code before. */
function bases(bits, first) {
  let next = first
  return bits.map((width) => {
    const base = next
    next += 2 ** width
    return base
  })
}
const LITERAL_BASES = bases(LITERAL_BITS, 0)
const MATCH_BASES = bases(MATCH_BITS, 3)

const highBit = (value) => 31 - Math.clz32(value)

/** Everything that the frames come to; more than `limit` bytes are refused. */
function zstd(bytes, limit) {
  const out = Buffer.alloc(limit)
  let size = 0
  let at = 0
  const room = (from, more) => {
    if (from + more > limit) throw new Error('it decodes to more than its size')
  }
  while (at < bytes.length) {
    const magic = bytes.readUInt32LE(at)
    if (magic >= 0x184d2a50 && magic <= 0x184d2a5f) {
      at += 8 + bytes.readUInt32LE(at + 4)
      continue
    }
    if (magic !== 0xfd2fb528) throw new Error('it is not compressed as it says')
    const descriptor = bytes[at + 4]
    const isSingle = (descriptor >> 5) & 1
    at += 5 + (isSingle ? 0 : 1) + [0, 1, 2, 4][descriptor & 3] + [isSingle, 2, 4, 8][descriptor >> 6]
    const state = { offsets: [1, 4, 8], start: size }
    for (let isLast = false; !isLast; ) {
      const head = bytes.readUIntLE(at, 3)
      at += 3
      isLast = (head & 1) === 1
      const type = (head >> 1) & 3
      const length = head >> 3
      if (type === 0) {
        room(size, length)
        bytes.copy(out, size, at, at + length)
        size += length
        at += length
      } else if (type === 1) {
        room(size, length)
        out.fill(bytes[at], size, size + length)
        size += length
        at += 1
      } else if (type === 2) {
        size = block(bytes.subarray(at, at + length), state, out, size, room)
        at += length
      } else throw new Error('a block of no known type')
    }
    if (descriptor & 4) at += 4
  }
  if (size !== limit) throw new Error('it decodes to less than its size')
  return out
}

function block(bytes, state, out, start, room) {
  const { literals, at: afterLiterals } = literalsOf(bytes, state)
  let at = afterLiterals
  let size = start
  let count = bytes[at++]
  if (count === 255) {
    count = bytes.readUInt16LE(at) + 0x7f00
    at += 2
  } else if (count >= 128) count = ((count - 128) << 8) + bytes[at++]
  let used = 0
  const copyLiterals = (length) => {
    if (used + length > literals.length) throw new Error('it has fewer literals than it says')
    room(size, length)
    literals.copy(out, size, used, used + length)
    used += length
    size += length
  }
  if (count > 0) {
    const modes = bytes[at++]
    const table = (name, mode, standard, accuracy, most) => {
      if (mode === 0) state[name] = fseTable(standard, accuracy)
      else if (mode === 1) state[name] = { accuracy: 0, symbols: [bytes[at++]], bits: [0], bases: [0] }
      else if (mode === 2) {
        const read = fseCounts(bytes, at, most)
        state[name] = fseTable(read.counts, read.accuracy)
        at = read.at
      } else if (!state[name]) throw new Error('it repeats a table that there is none of')
      return state[name]
    }
    const lengths = table('lengths', modes >> 6, LITERAL_LENGTHS, 6, 36)
    const distances = table('distances', (modes >> 4) & 3, OFFSETS, 5, 32)
    const matches = table('matches', (modes >> 2) & 3, MATCH_LENGTHS, 6, 53)
    const bits = backwards(bytes.subarray(at))
    let [l, o, m] = [bits(lengths.accuracy), bits(distances.accuracy), bits(matches.accuracy)]
    for (let i = 0; i < count; i++) {
      const code = distances.symbols[o]
      const value = 2 ** code + bits(code)
      const match = MATCH_BASES[matches.symbols[m]] + bits(MATCH_BITS[matches.symbols[m]])
      const literal = LITERAL_BASES[lengths.symbols[l]] + bits(LITERAL_BITS[lengths.symbols[l]])
      copyLiterals(literal)
      const distance = distanceOf(state.offsets, value, literal)
      if (distance > size - state.start || distance < 1) throw new Error('it refers to what is not there')
      room(size, match)
      for (let k = 0; k < match; k++, size++) out[size] = out[size - distance]
      if (i === count - 1) break
      l = lengths.bases[l] + bits(lengths.bits[l])
      m = matches.bases[m] + bits(matches.bits[m])
      o = distances.bases[o] + bits(distances.bits[o])
    }
  }
  copyLiterals(literals.length - used)
  return size
}

function distanceOf(offsets, value, literal) {
  const [first, second, third] = offsets
  let distance
  if (value > 3) distance = value - 3
  else {
    const index = value - 1 + (literal === 0 ? 1 : 0)
    if (index === 0) return first
    distance = index === 1 ? second : index === 2 ? third : first - 1
    if (index === 1) {
      offsets.splice(0, 3, second, first, third)
      return distance
    }
  }
  offsets.splice(0, 3, distance, first, second)
  return distance
}

function literalsOf(bytes, state) {
  const type = bytes[0] & 3
  const format = (bytes[0] >> 2) & 3
  if (type < 2) {
    const width = format === 1 ? 2 : format === 3 ? 3 : 1
    const size = bytes.readUIntLE(0, width) >> (width === 1 ? 3 : 4)
    if (type === 1) return { literals: Buffer.alloc(size, bytes[width]), at: width + 1 }
    return { literals: bytes.subarray(width, width + size), at: width + size }
  }
  const width = [3, 3, 4, 5][format]
  const field = [10, 10, 14, 18][format]
  const size = bitsAt(bytes, 4, field)
  const end = width + bitsAt(bytes, 4 + field, field)
  let at = width
  if (type === 2) {
    const read = huffmanTable(bytes, at)
    state.huffman = read.table
    at = read.at
  }
  if (!state.huffman) throw new Error('it repeats a table that there is none of')
  const literals = Buffer.alloc(size)
  if (format === 0) huffman(bytes.subarray(at, end), state.huffman, literals, 0, size)
  else {
    const each = Math.floor((size + 3) / 4)
    const starts = [at + 6]
    for (let i = 0; i < 3; i++) starts.push(starts[i] + bytes.readUInt16LE(at + 2 * i))
    starts.push(end)
    for (let i = 0; i < 4; i++)
      huffman(
        bytes.subarray(starts[i], starts[i + 1]),
        state.huffman,
        literals,
        i * each,
        Math.min(size, (i + 1) * each),
      )
  }
  return { literals, at: end }
}

function huffmanTable(bytes, start) {
  const head = bytes[start]
  let at = start + 1
  const weights = []
  if (head >= 128) {
    for (let i = 0; i < head - 127; i++) weights.push((bytes[at + (i >> 1)] >> (i % 2 === 0 ? 4 : 0)) & 15)
    at += Math.ceil((head - 127) / 2)
  } else {
    const end = at + head
    const { counts, accuracy, at: from } = fseCounts(bytes, at, 13)
    const table = fseTable(counts, accuracy)
    const bits = backwards(bytes.subarray(from, end))
    // Two states take turns, until the bits are used up.
    const states = [bits(accuracy), bits(accuracy)]
    for (let turn = 0; weights.length < 256; turn = 1 - turn) {
      weights.push(table.symbols[states[turn]])
      const width = table.bits[states[turn]]
      if (bits.left() < width) {
        weights.push(table.symbols[states[1 - turn]])
        break
      }
      states[turn] = table.bases[states[turn]] + bits(width)
    }
    at = end
  }
  const sum = weights.reduce((total, weight) => total + (weight > 0 ? 2 ** (weight - 1) : 0), 0)
  const most = highBit(sum) + 1
  weights.push(highBit(2 ** most - sum) + 1)
  const symbols = new Uint8Array(2 ** most)
  const widths = new Uint8Array(2 ** most)
  let next = 0
  for (let weight = 1; weight <= most; weight++)
    for (let symbol = 0; symbol < weights.length; symbol++) {
      if (weights[symbol] !== weight) continue
      const length = 2 ** (weight - 1)
      symbols.fill(symbol, next, next + length)
      widths.fill(most + 1 - weight, next, next + length)
      next += length
    }
  if (next !== symbols.length) throw new Error('a table of codes that is not whole')
  return { table: { most, symbols, widths }, at }
}

function huffman(bytes, { most, symbols, widths }, out, from, to) {
  const bits = backwards(bytes)
  let state = bits(most)
  for (let i = from; i < to; i++) {
    out[i] = symbols[state]
    const width = widths[state]
    state = ((state << width) & (2 ** most - 1)) + bits(width)
  }
}

function fseCounts(bytes, start, most) {
  const base = start * 8
  const accuracy = bitsAt(bytes, base, 4) + 5
  let read = 4
  let left = 2 ** accuracy
  const counts = []
  while (left > 0) {
    if (counts.length >= most) throw new Error('a table of more codes than there are')
    const width = highBit(left + 1) + 1
    const value = bitsAt(bytes, base + read, width)
    const low = 2 ** (width - 1) - 1
    const threshold = 2 ** width - 1 - (left + 1)
    let count
    if ((value & low) < threshold) {
      count = (value & low) - 1
      read += width - 1
    } else {
      count = (value > low ? value - threshold : value) - 1
      read += width
    }
    left -= Math.abs(count)
    counts.push(count)
    if (count !== 0) continue
    for (let repeat = 3; repeat === 3; ) {
      repeat = bitsAt(bytes, base + read, 2)
      read += 2
      for (let i = 0; i < repeat; i++) counts.push(0)
    }
  }
  return { counts, accuracy, at: start + Math.ceil(read / 8) }
}

function fseTable(counts, accuracy) {
  const size = 2 ** accuracy
  const symbols = new Array(size)
  const next = counts.map((count) => Math.abs(count))
  let high = size
  counts.forEach((count, symbol) => {
    if (count === -1) symbols[--high] = symbol
  })
  const step = (size >> 1) + (size >> 3) + 3
  let at = 0
  counts.forEach((count, symbol) => {
    for (let i = 0; i < count; i++) {
      symbols[at] = symbol
      do at = (at + step) & (size - 1)
      while (at >= high)
    }
  })
  const bits = symbols.map((symbol) => accuracy - highBit(next[symbol]++))
  const seen = counts.map((count) => Math.abs(count))
  const bases = symbols.map((symbol, i) => seen[symbol]++ * 2 ** bits[i] - size)
  return { accuracy, symbols, bits, bases }
}

/** Reads bits from the end of the bytes on, below the mark; zeros before their beginning. */
function backwards(bytes) {
  const last = bytes[bytes.length - 1]
  if (!last) throw new Error('its bits do not end')
  let position = bytes.length * 8 - (8 - highBit(last))
  const read = (width) => {
    position -= width
    if (position >= 0) return bitsAt(bytes, position, width)
    const missing = -position
    return missing >= width ? 0 : bitsAt(bytes, 0, width - missing) * 2 ** missing
  }
  read.left = () => position
  return read
}

try {
  process.exitCode = main()
} catch (error) {
  // What was found before says why nothing could be made of the rest.
  for (const line of [...faults, String(error.message)]) console.log(`FAULT  ${printable(line)}`)
  process.exitCode = 1
}
