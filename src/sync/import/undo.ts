/** Takes a run back (T8, L19): its rows by the library's undo, its place in ledger and stream here. */
import { ColdtrailError } from '../../core/errors.ts'
import type { Library } from '../../library/library.ts'
import { type UndoReport, undoRun } from '../../library/merge/undo.ts'
import { beginRun, findRun, markUndone } from '../synchronizations.ts'
import { type BundleName, forgetApplied } from './admission.ts'

export interface UndoSummary {
  readonly type: 'sync undo'
  /** Of the undo itself. */
  readonly run: string
  readonly undone: string
  /** The bundle that the run brought, which can be imported again, and later ones, which can too. */
  readonly bundle: string | null
  readonly later: readonly BundleName[]
  readonly report: UndoReport
  readonly seconds: number
}

/** E_SYNC_RUN when there is no such run, or it wrote nothing that could be taken back. */
export async function undoImport(library: Library, undone: string): Promise<UndoSummary> {
  const started = performance.now()
  const record = await findRun(library, undone)
  const refuse = (message: string): never => {
    throw new ColdtrailError('E_SYNC_RUN', { message })
  }
  if (record?.state === 'undone') refuse(`Run ${undone} is undone already.`)
  if (record?.state === 'running') refuse(`Run ${undone} is not finished.`)
  if (record && record.type !== 'import')
    refuse(`Run ${undone} is of the kind ${record.type}; only imports can be undone.`)
  const { db } = library.database
  const changes = await db
    .selectFrom('changes')
    .select(['id', 'seq', 'kind', 'note'])
    .where('run', '=', undone)
    .where('seq', 'is not', null)
    .execute()
  if (!record && changes.length === 0) refuse(`There is no run ${undone}.`)
  const taken = new Set(changes.filter(({ kind }) => kind === 'undo').map(({ note }) => note as string))
  const left = changes.filter(({ id, kind }) => kind !== 'undo' && !taken.has(String(id)))
  if (left.length === 0 && taken.size > 0) refuse(`Run ${undone} is undone already.`)
  const brought = await db.selectFrom('sync_bundles').select('name').where('run', '=', undone).executeTakeFirst()
  if (left.length === 0 && !brought) refuse(`Run ${undone} changed nothing that could be taken back.`)

  const run = await beginRun(library, { type: 'undo', config: { undo: undone }, options: { undo: undone } })
  try {
    let forgotten: Awaited<ReturnType<typeof forgetApplied>>
    const report = await undoRun(library, undone, {
      async beforePublish(tx) {
        forgotten = await forgetApplied(tx, undone)
        await markUndone(tx, undone)
      },
    })
    const summary: UndoSummary = {
      type: 'sync undo',
      run: run.run,
      undone,
      bundle: forgotten?.name ?? null,
      later: forgotten?.later ?? [],
      report,
      seconds: (performance.now() - started) / 1_000,
    }
    await run.finish({ undone, bundle: summary.bundle, later: summary.later, report })
    return summary
  } catch (error) {
    await run.fail(error)
    throw error
  }
}
