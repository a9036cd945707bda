/** Compiles assembly/ (AssemblyScript) into the module that src/core/byteModule.ts starts. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import asc from 'assemblyscript/asc'

/** The text of src/core/byteModule.wasm.ts: what runs needs no compiler, and a build copies no files. */
export async function byteModuleFile(root: string): Promise<string> {
  let binary: Uint8Array | undefined
  const { error, stderr } = await asc.main(
    [
      'assembly/index.ts',
      '--outFile',
      'module.wasm',
      '--runtime',
      'stub',
      '--enable',
      'simd',
      '-O3',
      '--noAssert',
      '--converge',
    ],
    {
      readFile: (name, base) => readOptional(join(root, base, name)),
      writeFile: (name, contents) => {
        if (name === 'module.wasm') binary = contents as Uint8Array
      },
      listFiles: () => [],
    },
  )
  if (error || !binary) throw new Error(`assembly/ does not compile:\n${stderr.toString()}`, { cause: error })
  return [
    '/** assembly/ compiled to WebAssembly, in base64; written by npm run gen. */',
    '// biome-ignore format: one value',
    `export const MODULE = '${Buffer.from(binary).toString('base64')}'`,
    '',
  ].join('\n')
}

// --- internal ---

function readOptional(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
