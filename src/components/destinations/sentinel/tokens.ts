/**
 * Tokens of Entra ID for the ingestion service: fetched by the identity library, kept until shortly before they expire,
 * and once more when the service refuses one. No token and no secret is ever in an error.
 */
import { resolve } from 'node:path'
import type { TokenCredential } from '@azure/identity'
import { ColdtrailError, printable } from '../../../core/errors.ts'
import type { HttpClient } from '../../../platform/httpClient.ts'
import { hiding } from '../http/answers.ts'
import { identityHttp, type LastExchange } from './identityHttp.ts'

export interface CredentialForm {
  readonly type: 'environment' | 'client_secret' | 'certificate' | 'managed_identity' | 'workload_identity'
  readonly tenant_id?: string | undefined
  readonly client_id?: string | undefined
  readonly client_secret?: string | undefined
  readonly certificate_path?: string | undefined
  readonly certificate_password?: string | undefined
  readonly token_file?: string | undefined
}

export interface TokenOptions {
  /** Name of the destination, for messages. */
  readonly destination: string
  readonly form: CredentialForm
  /** `https://login.microsoftonline.com` */
  readonly authorityHost: string
  /** Whether the host is one that the library knows; another one is taken at its word. */
  readonly knownAuthority: boolean
  readonly scope: string
  readonly http: HttpClient
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Relative paths mean this directory. */
  readonly base: string
}

export interface Tokens {
  /** The credential in words, for messages: `client secret of application …`. */
  readonly tried: string
  /** Puts `(hidden)` for every secret in a text: a service may echo what was sent to it. */
  hide(text: string): string
  /** A token that is valid. Throws TransientTokenFault, else E_AZURE_CREDENTIALS. */
  get(): Promise<string>
  /** That token was refused: the next one is fetched anew. */
  renew(refused: string): void
}

/** The authority did not answer, or not now: worth trying again. */
export class TransientTokenFault extends Error {}

export function createTokens(options: TokenOptions): Tokens {
  return new CachedTokens(options, explicitForm(options.form, options.environment))
}

// --- internal ---

const MINUTE_MS = 60_000
const LOOKUP_MS = 60_000
const AGAIN_MS = 30_000

class CachedTokens implements Tokens {
  readonly tried: string
  readonly #options: TokenOptions
  readonly #form: CredentialForm
  readonly #last: LastExchange = { fault: undefined, status: undefined }
  #credential: Promise<TokenCredential> | undefined
  #token: { readonly text: string; readonly until: number; readonly refreshAt: number } | undefined
  /** Refused ones may be echoed still. */
  #latest: readonly string[] = []
  #fetching: Promise<string> | undefined

  constructor(options: TokenOptions, form: CredentialForm) {
    this.#options = options
    this.#form = form
    this.tried = describe(form, options.environment)
  }

  hide(text: string): string {
    const { client_secret, certificate_password } = this.#form
    return hiding([...this.#latest, client_secret, certificate_password])(text)
  }

  async get(): Promise<string> {
    const token = this.#token
    if (token && Date.now() < token.refreshAt) return token.text
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined
    })
    try {
      return await this.#fetching
    } catch (error) {
      // It could not be had before time; the one we have still holds.
      if (!token || Date.now() >= token.until) throw error
      this.#token = { ...token, refreshAt: Date.now() + AGAIN_MS }
      return token.text
    }
  }

  renew(refused: string): void {
    if (this.#token?.text !== refused) return
    this.#token = undefined
    // The library keeps tokens too; only a new credential asks again.
    this.#credential = undefined
  }

  async #fetch(): Promise<string> {
    let timer: NodeJS.Timeout | undefined
    const { scope } = this.#options
    this.#last.fault = undefined
    this.#last.status = undefined
    try {
      this.#credential ??= createCredential(this.#options, this.#form, this.#last)
      const credential = await this.#credential
      const timeout = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new TransientTokenFault(`no token within ${LOOKUP_MS / 1000} s`)), LOOKUP_MS)
      })
      const given = await Promise.race([credential.getToken(scope), timeout])
      if (!given) throw new Error('no token was given')
      const now = Date.now()
      const until = given.expiresOnTimestamp
      const early = Math.min(5 * MINUTE_MS, (until - now) / 5)
      this.#token = {
        text: given.token,
        until,
        refreshAt: Math.min(given.refreshAfterTimestamp ?? until, until - early),
      }
      this.#latest = [given.token, ...this.#latest].slice(0, 3)
      return given.token
    } catch (thrown) {
      this.#credential = undefined
      throw this.#explained(thrown)
    } finally {
      clearTimeout(timer)
    }
  }

  #explained(thrown: unknown): Error {
    if (thrown instanceof TransientTokenFault || thrown instanceof ColdtrailError) return thrown
    const { fault, status } = this.#last
    const whole = thrown instanceof Error ? thrown.message : String(thrown)
    const number = /AADSTS(\d+)/.exec(whole)?.[1] ?? ''
    const isManaged = this.#form.type === 'managed_identity'
    // An answer that is none of Entra ID: the library says only that the network is to blame.
    const isForeign = status !== undefined && number === '' && !isManaged && FOREIGN.test(whole)
    const said = isForeign ? `${status} was answered, and not as Entra ID does` : (fault?.message ?? sentence(whole))
    const text = printable(this.hide(said))
    const notNow = TRANSIENT.has(number) || status === 429 || (status !== undefined && status >= 500)
    if (notNow || (fault && fault.kind !== 'tls' && this.#form.type !== 'managed_identity')) {
      return new TransientTokenFault(text, { cause: thrown })
    }
    const { destination, authorityHost } = this.#options
    const advice = fault?.kind === 'tls' ? TLS_ADVICE : isForeign ? FOREIGN_ADVICE : ADVICE[number]
    return new ColdtrailError(
      'E_AZURE_CREDENTIALS',
      {
        destination,
        tried: this.tried,
        from: isManaged ? 'the identity service of this machine' : authorityHost,
        cause: text,
        advice: advice ?? FORM_ADVICE[this.#form.type],
      },
      { cause: thrown },
    )
  }
}

/** What `environment` means here, told once, so that messages can name it: no chain, whose failures hide each other. */
function explicitForm(form: CredentialForm, environment: TokenOptions['environment']): CredentialForm {
  const of = (name: string): string | undefined => environment[name] || undefined
  const base = {
    tenant_id: form.tenant_id ?? of('AZURE_TENANT_ID'),
    client_id: form.client_id ?? of('AZURE_CLIENT_ID'),
  }
  const token_file = form.token_file ?? of('AZURE_FEDERATED_TOKEN_FILE')
  if (form.type === 'workload_identity') return { ...form, ...base, token_file }
  if (form.type !== 'environment') return form
  const client_secret = of('AZURE_CLIENT_SECRET')
  const certificate_path = of('AZURE_CLIENT_CERTIFICATE_PATH')
  const named = base.tenant_id !== undefined && base.client_id !== undefined
  if (named && client_secret !== undefined) return { ...base, type: 'client_secret', client_secret }
  if (named && certificate_path !== undefined) {
    const certificate_password = of('AZURE_CLIENT_CERTIFICATE_PASSWORD')
    return { ...base, type: 'certificate', certificate_path, certificate_password }
  }
  if (named && token_file !== undefined) return { ...base, type: 'workload_identity', token_file }
  return { type: 'managed_identity', client_id: base.client_id }
}

function describe({ type, client_id, certificate_path, token_file }: CredentialForm, environment: object): string {
  const application = client_id === undefined ? '' : ` of application ${client_id}`
  switch (type) {
    case 'client_secret':
      return `the client secret${application}`
    case 'certificate':
      return `the certificate ${certificate_path}${application}`
    case 'workload_identity':
      return `the workload identity of ${token_file ?? 'no token file'}${application}`
    default: {
      const kind = 'IDENTITY_ENDPOINT' in environment ? 'the managed identity' : 'the managed identity of this machine'
      return client_id === undefined ? kind : `${kind} with client id ${client_id}`
    }
  }
}

async function createCredential(
  { authorityHost, knownAuthority, http, base }: TokenOptions,
  form: CredentialForm,
  last: LastExchange,
): Promise<TokenCredential> {
  // Half a second to load: only where it is used.
  const library = await import('@azure/identity')
  const { tenant_id: tenantId = '', client_id: clientId = '' } = form
  const common = {
    authorityHost,
    disableInstanceDiscovery: !knownAuthority,
    httpClient: identityHttp(http, last),
    // Repeating is the forwarder's, except for the metadata service, which is often busy.
    retryOptions: { maxRetries: form.type === 'managed_identity' ? 3 : 0 },
  }
  switch (form.type) {
    case 'client_secret':
      return new library.ClientSecretCredential(tenantId, clientId, form.client_secret ?? '', common)
    case 'certificate': {
      const certificatePath = resolve(base, form.certificate_path ?? '')
      const password = form.certificate_password
      const configuration = { certificatePath, ...(password !== undefined && { certificatePassword: password }) }
      return new library.ClientCertificateCredential(tenantId, clientId, configuration, common)
    }
    case 'workload_identity': {
      const missing = (['tenant_id', 'client_id', 'token_file'] as const).filter((key) => form[key] === undefined)
      if (missing.length > 0) throw new Error(`${missing.join(', ')} neither configured nor in the environment`)
      const tokenFilePath = resolve(base, form.token_file ?? '')
      return new library.WorkloadIdentityCredential({ ...common, tenantId, clientId, tokenFilePath })
    }
    default:
      return new library.ManagedIdentityCredential({ ...common, ...(form.client_id !== undefined && { clientId }) })
  }
}

/** What an error says, without what the library puts around it and the trace ids and dates that Entra ID appends. */
function sentence(message: string): string {
  const told = /Description: (.+?) - Correlation ID/.exec(message)?.[1] ?? /AADSTS\d+:[\s\S]*/.exec(message)?.[0]
  return (told ?? message).split(/\s*Trace ID:|\r?\n/, 1)[0]!.trim()
}

const TRANSIENT = new Set(['90033', '50196', '1000502', '90024'])
const TLS_ADVICE =
  'Give the authority that signed its certificate as ca_file (a proxy that inspects TLS has its own); verification is never off.'

/** What the library calls an answer that it cannot read. */
const FOREIGN = /\b(?:network_error|client_error|endpoints_resolution_error|openid_config_error)\b/
const FOREIGN_ADVICE =
  'Check cloud and authority_host, and whether a proxy or a portal answers in the place of Entra ID.'

const FORM_ADVICE: Readonly<Record<CredentialForm['type'], string>> = {
  environment: '',
  client_secret: 'Check tenant_id, client_id and client_secret against the app registration in Entra ID.',
  certificate:
    'certificate_path names a PEM file with the certificate and its private key, whose public part the app registration has.',
  managed_identity:
    'Give this machine or service a managed identity, or configure credential with type client_secret, certificate or workload_identity, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.',
  workload_identity:
    'tenant_id, client_id and token_file are needed (in Kubernetes the webhook sets them), and the app registration needs a federated credential for this issuer and subject.',
}

/** By the number after AADSTS. */
const ADVICE: Readonly<Record<string, string>> = {
  7000215:
    'The client secret is wrong: give the value of the secret, which is shown only once when it is made, not its id.',
  7000222: 'The client secret has expired: make a new one in the app registration and configure its value.',
  700016:
    'The tenant has no such application: check client_id, and that tenant_id is the tenant where it is registered.',
  90002: 'There is no such tenant: check tenant_id, and that cloud is the one it is in.',
  900023: 'tenant_id is no tenant: give its id, or one of its domains.',
  7000112: 'The application is disabled: enable it in Entra ID under enterprise applications.',
  700027: 'The app registration does not have this certificate: upload its public part there.',
  700024: 'The assertion is outside its time: set the clock of this machine (NTP).',
  70021: 'The app registration has no federated credential for this issuer, subject and audience.',
  700211: 'The app registration has no federated credential for this issuer.',
  700213: 'The app registration has no federated credential for this subject.',
  500011: 'The tenant does not know the audience: check cloud and scope.',
  1002012: 'The scope is not one for applications: check cloud and scope.',
  70011: 'The scope is not valid: check cloud and scope.',
  53003: 'A conditional access policy blocks the application: allow it from this address.',
}
