/** The names in what a person gave as one: `main,case1`; a text without any is no name of a collection either. Default `main`. */
export function collectionNames(given = 'main'): readonly string[] {
  const names = given.split(',').map((name) => name.trim())
  const unique = new Set(names.filter((name) => name !== ''))
  return unique.size === 0 ? [given] : [...unique]
}
