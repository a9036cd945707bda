/** Every format; written by npm run gen from this folder. */
import { aws_cloudtrail } from './aws_cloudtrail.ts'
import { aws_vpcflow } from './aws_vpcflow.ts'
import { bodyfile } from './bodyfile.ts'
import { json_lines } from './json_lines.ts'
import { l2tcsv } from './l2tcsv.ts'
import { plaso } from './plaso.ts'
import { plaso_json_line } from './plaso_json_line.ts'
import { text_lines } from './text_lines.ts'
import { timesketch_csv } from './timesketch_csv.ts'
import { timesketch_jsonl } from './timesketch_jsonl.ts'

export const FORMATS = [
  aws_cloudtrail,
  aws_vpcflow,
  bodyfile,
  json_lines,
  l2tcsv,
  plaso,
  plaso_json_line,
  text_lines,
  timesketch_csv,
  timesketch_jsonl,
] as const
