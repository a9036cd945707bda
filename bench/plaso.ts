/** `npm run bench -- plaso [--events N]`: the import of a plaso timeline alone; `analyze` measures it among others. */
import { parseArgs } from 'node:util'
import { plasoImport } from './support/plasoImport.ts'

const { values } = parseArgs({
  options: { events: { type: 'string', default: '1000000' }, repeats: { type: 'string', default: '3' } },
})
const { events, ratio, importCpu, decodeCpu, importWall, peakRssMb } = await plasoImport(
  Number(values.events),
  Number(values.repeats),
)
console.log(
  JSON.stringify({
    ...{ bench: 'plaso', events, plaso_import_cpu_ratio: ratio, import_cpu_s: importCpu, decode_cpu_s: decodeCpu },
    ...{ import_wall_s: importWall, peak_rss_mb: peakRssMb },
  }),
)
