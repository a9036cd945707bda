/** Credentials for a source: explicit keys, a profile, a web identity, an assumed role, or the AWS SDK's own chain. */
import { fromIni, fromNodeProviderChain, fromTemporaryCredentials, fromTokenFile } from '@aws-sdk/credential-providers'
import { ColdtrailError } from '../../../core/errors.ts'

export interface CredentialForms {
  readonly anonymous: boolean
  readonly profile?: string
  readonly access_key_id?: string
  readonly secret_access_key?: string
  readonly session_token?: string
  readonly role_arn?: string
  readonly external_id?: string
  readonly role_session_name: string
  readonly web_identity_token_file?: string
  readonly sts_endpoint?: string
}

export interface Identity {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  readonly expiration?: Date
}

export interface Credentials {
  /** What the provider asks, in words, for messages. */
  readonly tried: string
  /** Whether asking again may give newer ones. */
  readonly renewable: boolean
  provider(): () => Promise<Identity>
}

/** The instance metadata service is asked once and briefly: on most machines nobody answers there. */
const METADATA_TIMEOUT_MS = 1000
const LOOKUP_TIMEOUT_MS = 20_000

export function credentialsOf(forms: CredentialForms, region: string): Credentials {
  const sts = { region, ...(forms.sts_endpoint !== undefined && { endpoint: forms.sts_endpoint }) }
  const base = baseCredentials(forms, sts)
  if (forms.role_arn === undefined || forms.web_identity_token_file !== undefined) return base
  const params = {
    RoleArn: forms.role_arn,
    RoleSessionName: forms.role_session_name,
    ...(forms.external_id !== undefined && { ExternalId: forms.external_id }),
  }
  return {
    tried: `role ${forms.role_arn} assumed by ${base.tried}`,
    renewable: true,
    provider: () => fromTemporaryCredentials({ params, masterCredentials: base.provider(), clientConfig: sts }),
  }
}

/** Fetches the credentials once, so that missing ones are refused before the first call. E_S3_CREDENTIALS. */
export async function requireCredentials(credentials: Credentials, where: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${LOOKUP_TIMEOUT_MS / 1000} s`)), LOOKUP_TIMEOUT_MS)
  })
  try {
    await Promise.race([credentials.provider()(), timeout])
  } catch (thrown) {
    const cause = thrown instanceof Error ? thrown.message : String(thrown)
    throw new ColdtrailError('E_S3_CREDENTIALS', { where, tried: credentials.tried, cause }, { cause: thrown })
  } finally {
    clearTimeout(timer)
  }
}

// --- internal ---

function baseCredentials(forms: CredentialForms, sts: { readonly region: string }): Credentials {
  const { access_key_id: accessKeyId, secret_access_key: secretAccessKey, session_token: sessionToken } = forms
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    const identity = { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) }
    return { tried: 'access_key_id of the source', renewable: false, provider: () => async () => identity }
  }
  const { web_identity_token_file: webIdentityTokenFile, role_arn: roleArn, profile } = forms
  if (webIdentityTokenFile !== undefined) {
    const options = { webIdentityTokenFile, roleArn, roleSessionName: forms.role_session_name, clientConfig: sts }
    return {
      tried: `web identity ${webIdentityTokenFile} for ${roleArn ?? 'no role'}`,
      renewable: true,
      provider: () => fromTokenFile(options),
    }
  }
  if (profile !== undefined) {
    return { tried: `profile ${profile}`, renewable: true, provider: () => fromIni({ profile, clientConfig: sts }) }
  }
  return {
    tried:
      'the environment (AWS_ACCESS_KEY_ID), profile files (AWS_PROFILE), SSO, web identity, container and instance metadata',
    renewable: true,
    provider: () => fromNodeProviderChain({ timeout: METADATA_TIMEOUT_MS, maxRetries: 0, clientConfig: sts }),
  }
}
