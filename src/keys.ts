/** The keyset keys of a data directory: what is needed to hunt in keysets after the data have left. */
import type { KeysetKey } from './store/keysetKeys.ts'

export interface KeyRing {
  /** Without the secret bytes. */
  list(): Promise<readonly Pick<KeysetKey, 'epoch' | 'id'>[]>
  /** Copies the key of an epoch to a new file, mode 0600. */
  export(epoch: string, path: string): Promise<Pick<KeysetKey, 'epoch' | 'id'>>
  /** Takes an exported key in. */
  import(path: string): Promise<Pick<KeysetKey, 'epoch' | 'id'>>
}

/** `requireData`: throws when there is no data directory; only an import makes one. */
export function keyRing(dataDir: string, requireData: () => void): KeyRing {
  const module = () => import('./store/keysetKeys.ts')
  const named = ({ epoch, id }: KeysetKey) => ({ epoch, id })
  return {
    async list() {
      requireData()
      return (await module()).listKeysetKeys(dataDir).map(named)
    },
    async export(epoch, path) {
      requireData()
      return named((await module()).exportKeysetKey(dataDir, epoch, path))
    },
    import: async (path) => named((await module()).importKeysetKey(dataDir, path)),
  }
}
