/** From a checked declaration to an open source, in the foreman and again in every worker. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SourceComponent, SourceContext } from '../components/component.ts'
import type { Source } from '../components/source.ts'
import { ColdtrailError } from '../core/errors.ts'

/** Plain data: name, component, and the component's own options, checked by its schema. */
export interface SourceDeclaration {
  readonly name: string
  readonly type: string
  readonly [option: string]: unknown
}

export async function openSource(declaration: SourceDeclaration, warn: SourceContext['warn']): Promise<Source> {
  const { name: _, type, ...options } = declaration
  const component = await loadComponent(type)
  return component.create(options, {
    environment: process.env,
    pause: async (milliseconds, signal) => sleep(milliseconds, undefined, { signal }),
    warn,
  })
}

// --- internal ---

/** Files need no AWS SDK: a worker that reads them starts in a fraction of the time without it. */
async function loadComponent(type: string): Promise<SourceComponent> {
  if (type === 'directory') return erased((await import('../components/sources/directory.ts')).directory)
  const { SOURCES } = await import('../components/sources/all.ts')
  const found = SOURCES.find(({ name }) => name === type)
  if (!found) throw new ColdtrailError('E_USAGE', { message: `There is no source of type "${type}".` })
  return erased(found)
}

/** Options come checked by the component's own schema, whose type is not known here. */
function erased(component: unknown): SourceComponent {
  return component as SourceComponent
}
