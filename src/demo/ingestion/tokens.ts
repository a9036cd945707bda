/**
 * The embedded token services: OAuth client credentials as Entra ID answers them (secret, certificate, federated
 * token), the metadata that the identity library asks for first, and the managed-identity endpoint of App Service.
 */
import { constants, createPublicKey, randomBytes, verify } from 'node:crypto'

export interface ServerClient {
  readonly tenant: string
  readonly clientId: string
  readonly secret?: string
  /** PEM; assertions must be signed with its key. */
  readonly certificate?: string
  /** The token that a workload presents. */
  readonly federatedToken?: string
}

export interface TokenAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

export class TokenIssuer {
  readonly #clients: readonly ServerClient[]
  readonly #now: () => number
  /** Lifetime of the tokens that are issued from now on, seconds. */
  lifetimeSecs: number
  /** How many were issued. */
  issued = 0
  readonly #valid = new Map<string, { readonly until: number; readonly resource: string }>()

  constructor(clients: readonly ServerClient[], now: () => number, lifetimeSecs: number) {
    this.#clients = clients
    this.#now = now
    this.lifetimeSecs = lifetimeSecs
  }

  /** Whether the bearer of it may be let in: issued here, not expired, not revoked, for that audience. */
  accepts(token: string, audience: string): boolean {
    const found = this.#valid.get(token)
    return found !== undefined && found.until > this.#now() && found.resource === audience
  }

  /** No token issued before is taken any more. */
  revoke(): void {
    this.#valid.clear()
  }

  /** What lies below /{tenant}/ of an authority. `origin` is this server's own. */
  metadata(tenant: string, origin: string): Record<string, unknown> {
    return {
      issuer: `${origin}/${tenant}/v2.0`,
      authorization_endpoint: `${origin}/${tenant}/oauth2/v2.0/authorize`,
      token_endpoint: `${origin}/${tenant}/oauth2/v2.0/token`,
      jwks_uri: `${origin}/${tenant}/discovery/v2.0/keys`,
      token_endpoint_auth_methods_supported: ['client_secret_post', 'private_key_jwt'],
      response_types_supported: ['code'],
      subject_types_supported: ['pairwise'],
      id_token_signing_alg_values_supported: ['RS256'],
    }
  }

  clientCredentials(tenant: string, form: URLSearchParams): TokenAnswer {
    const clientId = form.get('client_id') ?? ''
    if (form.get('grant_type') !== 'client_credentials') return refused(70003, 'unsupported_grant_type', 400)
    const ofTenant = this.#clients.filter((client) => client.tenant === tenant)
    if (ofTenant.length === 0) {
      const text = `Tenant '${tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.`
      return refused(90002, 'invalid_request', 400, text)
    }
    const client = ofTenant.find((one) => one.clientId === clientId)
    if (!client) {
      const text = `Application with identifier '${clientId}' was not found in the directory '${tenant}'.`
      return refused(700016, 'unauthorized_client', 400, text)
    }
    const assertion = form.get('client_assertion')
    if (assertion !== null) {
      if (assertion !== client.federatedToken && !isSignedBy(assertion, client.certificate)) {
        return refused(700027, 'invalid_client', 401, 'Client assertion failed signature validation.')
      }
    } else if (client.secret === undefined || form.get('client_secret') !== client.secret) {
      const text =
        'Invalid client secret provided. Ensure the secret being sent in the request is the client secret value.'
      return refused(7000215, 'invalid_client', 401, text)
    }
    const scope = form.get('scope')?.split(' ')[0] ?? ''
    if (!scope.endsWith('/.default')) return refused(1002012, 'invalid_scope', 400)
    const token = this.#issue(scope.slice(0, -'/.default'.length))
    const expires = this.lifetimeSecs
    return {
      status: 200,
      body: { token_type: 'Bearer', expires_in: expires, ext_expires_in: expires, access_token: token },
    }
  }

  /** App Service: GET with the secret of IDENTITY_HEADER. */
  managedIdentity(query: URLSearchParams, presented: string | undefined, header: string): TokenAnswer {
    if (presented !== header) {
      return { status: 401, body: { statusCode: 401, message: 'The X-IDENTITY-HEADER is missing or wrong.' } }
    }
    const resource = query.get('resource') ?? ''
    const token = this.#issue(resource)
    const expires = Math.floor(this.#now() / 1000) + this.lifetimeSecs
    return {
      status: 200,
      body: { access_token: token, expires_on: String(expires), resource, token_type: 'Bearer', client_id: 'identity' },
    }
  }

  #issue(resource: string): string {
    const token = `token-${randomBytes(24).toString('base64url')}`
    this.issued += 1
    for (const [old, { until }] of this.#valid) if (until <= this.#now()) this.#valid.delete(old)
    this.#valid.set(token, { until: this.#now() + this.lifetimeSecs * 1000, resource: resource.replace(/\/+$/, '') })
    return token
  }
}

// --- internal ---

function refused(number: number, error: string, status: number, text = 'The request is not supported.'): TokenAnswer {
  const trace = 'Trace ID: 00000000-0000-0000-0000-000000000000 Correlation ID: 00000000-0000-0000-0000-000000000000'
  return { status, body: { error, error_description: `AADSTS${number}: ${text} ${trace}`, error_codes: [number] } }
}

/** A JWT whose signature the key of the certificate has made, RS256 or PS256. */
function isSignedBy(jwt: string, certificate: string | undefined): boolean {
  const parts = jwt.split('.')
  if (certificate === undefined || parts.length !== 3) return false
  try {
    const { alg } = JSON.parse(Buffer.from(parts[0]!, 'base64url').toString()) as { alg?: string }
    const padding =
      alg === 'PS256'
        ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
        : { padding: constants.RSA_PKCS1_PADDING }
    const key = { key: createPublicKey(certificate), ...padding }
    return verify('sha256', Buffer.from(`${parts[0]}.${parts[1]}`), key, Buffer.from(parts[2]!, 'base64url'))
  } catch {
    return false
  }
}
