/** Options of the commands that read a source, and how they become keys of its configuration. */
import { flag, type OptionValues, text, texts } from './command.ts'

export const SOURCE_OPTIONS = {
  endpoint: text('URL', 'S3-compatible service instead of AWS.'),
  region: text('NAME', 'Region of the bucket; by default found out.'),
  profile: text('NAME', 'Profile of the AWS configuration files, SSO included.'),
  roleArn: text('ARN', 'Role to assume first.'),
  anonymous: flag('Unsigned requests, for public buckets.'),
  requesterPays: flag('Accept to be billed for requests and transfer.'),
  include: texts('GLOB', 'Only keys that match; without / the last part of the key is matched.'),
  exclude: texts('GLOB', 'Keys to leave out, even if included.'),
} as const

export const RANGE_OPTIONS = {
  from: text('TIME', 'Start: 2023-07-10, "2023-07-10 11:00:00", -24h, today, POSIX seconds; UTC.'),
  to: text('TIME', 'End, included; a date means its whole day.'),
} as const

export function sourceSettings(options: OptionValues<typeof SOURCE_OPTIONS>): Record<string, unknown> {
  const { endpoint, region, profile, roleArn, anonymous, requesterPays, include, exclude } = options
  return {
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
    ...(profile !== undefined && { profile }),
    ...(roleArn !== undefined && { role_arn: roleArn }),
    ...(anonymous && { anonymous }),
    ...(requesterPays && { requester_pays: true }),
    ...(include.length > 0 && { include }),
    ...(exclude.length > 0 && { exclude }),
  }
}
