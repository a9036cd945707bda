/** Small pieces of the generated Markdown pages. */

export const GENERATED = '<!-- Written by npm run gen; edit the declarations, not this page. -->'

export const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}

export const code = (text: string): string => `\`${text}\``

export const page = (...parts: readonly string[]): string => `${parts.join('\n\n')}\n`
