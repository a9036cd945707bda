/** Some names of members, to be recognised by their bytes. */
export class KeySet {
  /** By length. */
  private readonly names: (readonly Buffer[] | undefined)[] = []

  constructor(names: Iterable<string>) {
    for (const name of names) {
      const bytes = Buffer.from(name)
      this.names[bytes.length] = [...(this.names[bytes.length] ?? []), bytes]
    }
  }

  /** Whether `bytes[start, end)` is one of them. */
  has(bytes: Uint8Array, start: number, end: number): boolean {
    const candidates = this.names[end - start]
    if (candidates === undefined) return false
    for (let i = 0; i < candidates.length; i++) {
      const name = candidates[i]!
      let at = 0
      while (at < name.length && bytes[start + at] === name[at]) at++
      if (at === name.length) return true
    }
    return false
  }
}
