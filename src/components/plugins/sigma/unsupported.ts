/** A rule that is Sigma and asks for what Coldtrail does not do; `at` is an offset, of what the thrower looks at. */
export class UnsupportedRule {
  readonly what: string
  readonly at: number
  constructor(what: string, at: number) {
    this.what = what
    this.at = at
  }
}
