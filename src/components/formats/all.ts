/** Every format; written by npm run gen from this folder. */
import { aws_cloudtrail } from './aws_cloudtrail.ts'
import { aws_vpcflow } from './aws_vpcflow.ts'
import { json_lines } from './json_lines.ts'
import { text_lines } from './text_lines.ts'

export const FORMATS = [aws_cloudtrail, aws_vpcflow, json_lines, text_lines] as const
