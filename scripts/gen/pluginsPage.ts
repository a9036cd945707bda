import { pluginOptions } from '../../src/analysis.ts'
import type { PluginComponent } from '../../src/components/plugin.ts'
import { PLUGINS } from '../../src/components/plugins/all.ts'
import { code, GENERATED, page, table } from './page.ts'

export function pluginsPage(): string {
  const plugins = (PLUGINS as unknown as readonly PluginComponent[]).filter(({ hidden }) => !hidden)
  return page(
    '# Analysis plugins',
    GENERATED,
    '`coldtrail analyze --plugins NAME,…` runs them. An option is `--<plugin>-<option>` on the command line, with `-` for `_`, and ' +
      '`analysis: {<plugin>: {<option>: …}}` in `coldtrail.yaml`. A guide to one of your own: [add an analysis](../how-to/add-an-analysis.md).',
    table(
      ['plugin', 'what it does', 'leaves this machine'],
      plugins.map(({ name, summary }) => [`[${code(name)}](#${name})`, summary, NETWORK[name] ?? 'nothing']),
    ),
    ...plugins.flatMap(({ name, summary, options }) => {
      const rows = pluginOptions(options).map(({ name: option, description, required, secret, ...rest }) => [
        code(option),
        required ? 'required' : rest.default === undefined ? '' : code(JSON.stringify(rest.default)),
        `${description}${secret ? ' Secret: never shown, never stored.' : ''}`,
      ])
      return [
        `## ${name}`,
        `${summary}.`,
        ...(NOTES[name] === undefined ? [] : [NOTES[name]]),
        ...(rows.length === 0 ? [] : [table(['option', 'default', 'meaning'], rows)]),
      ]
    }),
  )
}

// --- internal ---

const NETWORK: Readonly<Record<string, string>> = {
  chrome_extension: 'ids of extensions, to the Chrome Web Store; not with `names: false`',
  nsrlsvr: 'hashes, to the nsrlsvr that is named',
  virustotal: 'hashes, to VirusTotal',
}

const LOOKUPS =
  'Distinct hashes are asked for once, in one connection, and answers are kept in `lookups.db` of the data directory, which can be ' +
  'deleted at any time. The service is probed before anything is analysed. One that fails later ends the asking: what was answered ' +
  'counts for every event of its hash, the rest is a warning, and the run is partial; the next run asks only for the rest.'

const NOTES: Readonly<Record<string, string>> = {
  bloom: `Format: DCSO's bloom, version 1, not packed, as CIRCL publishes \`hashlookup-full.bloom\`. Digests are looked up in upper case. The filter is not
read into memory when it is larger than 16 MiB. Hashes come from \`file_hash\` and from \`data.md5_hash\`, \`data.sha1_hash\`, \`data.sha256_hash\`.`,
  browser_search: `Reads \`data.url\` of 29 data types of browsers. Engines: Bing, DuckDuckGo, GMail, Google Docs, Drive, Search and Sites, Yahoo, Yandex, Youtube.
The parameter of the term is taken by its whole name (\`q\`, not the end of \`oq\`; for Youtube \`search_query\` too). The report lists each term with its engine and number.`,
  brute_force: `A failed login has the status \`Failure\`, one that succeeded \`Success\`. The window ends with the success. Successes are labelled, with the rule
\`source\` or \`user\`; the report lists sources and users with many failures, whether or not a login succeeded.`,
  chrome_extension: `Reads \`data.filename\` of \`fs:stat\` events: folders of extensions below a folder \`chrome\` or \`chromium\`. The user is the one in whose home directory
the folder lies, by whole names and the deepest. Names are kept in \`lookups.db\`.`,
  indicator_match: `Looks for the indicators of the library with the status Active (or none) that have not expired: addresses and CIDR blocks, FQDNs (also in what lies below
them; \`*.example.com\` only below), URLs, e-mail addresses, hashes, user names, user agents, and ARNs and AWS access keys among Strings. Columns: addresses, \`query_hostname\`,
\`http_request_url\`, \`http_request_user_agent\`, \`file_hash\`, \`actor_user_name\`, \`actor_user_uid\`, \`actor_user_credential_uid\`, \`resource_uid\`, and in timelines the hashes of files.
The label is \`indicator_<kind>\`, the rule the uid of the indicator; each match is a finding. Types that are looked for nowhere are counted.`,
  nsrlsvr: LOOKUPS,
  rare: `With \`--from\` the look-back before it is searched in the whole collection, whatever the expression. Without it the first look-back of the events only teaches
what is usual, and the report says until when.`,
  unique_domains_visited: `Reads \`data.url\` of 13 data types of browsers. The domain is the network location as Python's \`urlparse\` finds it.`,
  virustotal: `API v3. Labels: \`virustotal_detections_<N>\` (engines that say malicious or suspicious), \`virustotal_no_detections\`, \`virustotal_not_present\`,
\`virustotal_analysis_pending\`. \`Retry-After\` is obeyed up to two minutes. ${LOOKUPS}`,
}
