import { CSV_COLUMNS, THREATQ_HEADINGS } from '../../src/library/formats/csvRows.ts'
import { CODE_OF_TYPE } from '../../src/library/formats/stixObject.ts'
import { code, GENERATED, page, table } from './page.ts'

export function libraryFormatsPage(): string {
  return page(
    '# Formats of the threat library',
    GENERATED,
    '`coldtrail library import` tells the format of a file by what stands in it; `--format` names it. A file that is damaged ' +
      'is refused whole, with line and column. A row that cannot be taken is quarantined with its reason, and the others are ' +
      'taken: `coldtrail library quarantine`. A file of at most 256 MiB is read at once.',
    STIX,
    table(
      ['STIX', 'library'],
      [...CODE_OF_TYPE]
        .map(([type, object]) => [code(type), NOTES[type] ?? code(object)])
        .concat([
          ['`relationship`', 'a link, with its own context'],
          ['other types, `marking-definition` and observables too', 'custom objects under the name of the type'],
        ]),
    ),
    STIX_OUT,
    MISP,
    THREATQ,
    CSV,
    table(
      ['column', 'what it is'],
      [
        ...Object.entries(CSV_COLUMNS).map(([name, text]) => [code(name), text]),
        [code('attribute:NAME'), 'An attribute of that name; in files that come in'],
      ],
    ),
    CSV_MORE,
    LIST,
  )
}

// --- internal ---

const NOTES: Readonly<Record<string, string>> = {
  indicator: '`signature`, and the indicators that a STIX pattern compares, linked as `pattern`',
  sighting: '`event` of type Sighting, linked with what was seen and where',
}

const STIX = `## STIX 2.1 (and 2.0) bundles

Nothing of an object is lost: \`id\`, \`name\`, \`description\`, \`created\` and a few times are columns, and what no column holds is kept as
canonical JSON, numbers with all their digits. The bundle's own id and properties are kept too, one bundle a source.`

const STIX_OUT = `Made from the properties, besides: attributes \`Alias\`, \`External ID\`, \`Kill Chain: <name>\` and \`Revoked\`; tags of
\`labels\`; the TLP of the narrowest of \`object_marking_refs\` on the source row; links of each property that ends in \`_ref\` or \`_refs\` (not of
\`created_by_ref\`); of observables the indicators that their values are, linked as \`observable\`. They are made again on each side and not exported.

- A link whose end is neither in the file nor in the library waits in quarantine: \`library quarantine apply\` takes it when the end has come.
- Of several versions of an object in one file the one modified last is taken; the others go to quarantine.
- A row without \`type\` or \`id\`, with a key given twice, or longer than 8 MiB goes to quarantine. JSON nested deeper than 200 levels is refused.
- The source is \`--source\`, else the one \`x-mitre-collection\` of the bundle, else the one identity that made all objects, else the file's name.
  \`--mirror\` needs one of the first three.

\`library export\` writes such objects as they came, with what was changed here. What STIX has no property for (attributes, tags, comments,
type and status that were given here, and objects that came from elsewhere) stands in a property extension, which an import takes in
again. Objects for which STIX has no type are \`x-coldtrail-<object>\`.`

const MISP = `## MISP event JSON (in)

One event, a list of them, or \`{"response": […]}\`. An event becomes an \`event\` of type MISP Event; an attribute one or several indicators (\`filename|md5\`), a
signature (\`yara\`, \`snort\`, \`stix2-pattern\`, …), an adversary or a campaign, linked with the event; an object a custom object \`misp-object\` with its
attributes; a cluster of a galaxy the adversary, malware, tool or technique that it describes; a report a \`report\`. Tags are tags, \`tlp:\` tags the TLP. Sightings give
\`last_detected_at\` and attributes, expirations \`expires_at\`. What has no counterpart is quarantined: other attribute types, galaxies such as sectors, proposals.
Deleted attributes are passed over.`

const THREATQ = `## ThreatQ (in)

Pages of its API as JSON, \`{"total": …, "data": […]}\`, several of them as several files of one import, and the CSV of its tables with \`--format threatq\`. The
collection is told by \`object_code\`, by what only one collection has, or by the file's name (\`campaigns.json\`, \`indicators-12.json\`). Types and statuses come by
name; ids of theirs are looked up in dictionary pages of the same import (\`indicator_types.json\`, \`signature_statuses.json\`), and never guessed. Contents of
files lie in the folder \`files\` beside the pages, under any name: they are found by the MD5 that the page tells. Objects within an object
(\`with=adversaries\`) become links. [What becomes of each field](../how-to/move-from-threatq.md).

Of its CSV \`Indicator\`, \`Type\`, \`Status\` and the names below are read, other columns are attributes, and lists may be separated by \`|\`, \`;\` or a comma:
${Object.entries(THREATQ_HEADINGS)
  .map(([heading, column]) => `${code(heading.replaceAll('_', ' '))} is ${code(column)}`)
  .join(', ')}.`

const CSV = `## CSV (in and out)

RFC 4180 in UTF-8, with a header of these names in any order; a byte order mark and CRLF are taken. An empty field says nothing.`

const CSV_MORE = `Lists may be JSON lists of texts instead, where a name has a \`|\`. Columns \`id\`, \`uid\`, \`created_at\` and \`updated_at\` are passed over, any other name is
refused. Types and statuses must exist; a misspelt one is quarantined with what may be meant.

\`\`\`csv
object,type,value,status,tlp,tags,attribute:Port
indicator,FQDN,evil[.]example[.]com,Active,amber,phishing|c2,443
malware,,RedStone,,green,,
\`\`\``

const LIST = `## Plain lists (in)

One indicator a line: host, IP address, CIDR block, URL, e-mail address, hash or CVE, defanged or not (\`hxxp://evil[.]example\`). \`#\` begins a comment, and so do
\`;\` and \`//\` at the beginning of a line.`
