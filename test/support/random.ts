/** A small seeded generator (mulberry32), so that a failing mutation can be made again from its printed seed. */
export function seededRandom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** Bytes that mean something to a parser, and some that mean nothing. */
const TELLING = Buffer.from('{}[]":,\\\n\r\t 0-.eE+tnfu\0\x1f\x7f\x80\xc3\xff#/', 'latin1')

/** One to three bytes replaced, removed or inserted; `at` is the first place of damage. */
export function mutated(bytes: Buffer, random: (below: number) => number): { bytes: Buffer; at: number } {
  const damages = Array.from({ length: 1 + random(3) }, () => random(bytes.length)).sort((a, b) => b - a)
  let damaged = bytes
  for (const at of damages) {
    const kind = random(4)
    const insert = kind === 1 ? Buffer.alloc(0) : Buffer.of(TELLING[random(TELLING.length)]!)
    damaged = Buffer.concat([damaged.subarray(0, at), insert, damaged.subarray(at + (kind === 2 ? 0 : 1))])
  }
  return { bytes: damaged, at: damages.at(-1)! }
}
