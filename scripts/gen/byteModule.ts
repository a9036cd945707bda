/** Compiles assembly/ (AssemblyScript) into the modules that src/core/byteModule.ts and src/core/deflater.ts start. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import asc from 'assemblyscript/asc'

/** The text of a `.wasm.ts` file of src/core: what runs needs no compiler, and a build copies no files. */
export async function byteModuleFile(root: string, entry: string): Promise<string> {
  let binary: Uint8Array | undefined
  const { error, stderr } = await asc.main(
    [entry, '--outFile', 'module.wasm', '--runtime', 'stub', '--enable', 'simd', '-O3', '--noAssert', '--converge'],
    {
      readFile: (name, base) => readOptional(join(root, base, name)),
      writeFile: (name, contents) => {
        if (name === 'module.wasm') binary = contents as Uint8Array
      },
      listFiles: () => [],
    },
  )
  if (error || !binary) throw new Error(`${entry} does not compile:\n${stderr.toString()}`, { cause: error })
  return [
    `/** ${entry} and what it imports, compiled to WebAssembly, in base64; written by npm run gen. */`,
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
