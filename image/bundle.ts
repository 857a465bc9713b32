// The programs as the image has them: JavaScript with every dependency in it, so no folder node_modules is needed. What
// several programs use, and what is rarely loaded (client-node, 4 MB), lies in chunks beside them: in one file with the
// program its text alone would cost the agent 50 MB of memory. The agent shares none: loading 39 chunks in place of 9 takes
// 50 ms of each start, which pods wait for. Names of functions stay, for readable stack traces.
import { readFileSync } from 'node:fs'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildResult, build, type Plugin } from 'esbuild'
import { packageFile } from '../lib/package-files.ts'
import { bundlePages } from '../ui/bundle-pages.ts'

export type Bundle = {
  /** By path from the folder of the programs. */
  files: ReadonlyMap<string, Uint8Array>
  /** Names of the npm packages of which something is in the files. */
  packages: readonly string[]
}

/** Native libraries, by the name under which `imports` of the image's package.json leads to them. */
export const NATIVE = ['koffi', 'netlink'] as const

/**
 * The environment of all programs of the image. With an arena for each thread, glibc holds 10 MiB more of an agent that has
 * 1,000 peers.
 */
export const ENV = { PATH: '/usr/bin', MALLOC_ARENA_MAX: '1' } as const

const ROOT = fileURLToPath(packageFile('.'))
/** The program of every node. */
const AGENT = 'margay-node'
/** Programs that no one starts by hand, beside those of package.json's `bin`. */
const INNER = { 'apiserver/yaml-worker': 'apiserver/yaml-worker.ts', 'agent/bfd-worker': 'agent/bfd-worker.ts' }

/** What CommonJS packages expect to be there in any module. */
const COMMON_JS = `import { createRequire as createRequireOfFile } from 'node:module'
const require = createRequireOfFile(import.meta.url), __dirname = import.meta.dirname`

/** Both packages look for their library in their own folder. */
const nativeLibraries: Plugin = {
  name: 'native-libraries',
  setup(build) {
    const loading = (name: (typeof NATIVE)[number]) => `require(${JSON.stringify(`#${name}`)})`
    const loaders = [
      {
        filter: /\/koffi\/src\/koffi\/src\/static\.js$/,
        contents: `export const loadStatic = () => ${loading('koffi')}`,
      },
      {
        filter: /\/node_modules\/node-gyp-build\/index\.js$/,
        contents: `module.exports = () => ${loading('netlink')}`,
      },
    ]
    for (const { filter, contents } of loaders) build.onLoad({ filter }, () => ({ contents }))
    build.onResolve({ filter: new RegExp(`^#(${NATIVE.join('|')})$`) }, ({ path }) => ({ path, external: true }))
  },
}

/** Bundles all programs. The result depends on the sources and the lock file alone. Throws when a part is missing. */
export async function bundlePrograms(): Promise<Bundle> {
  const { bin } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { bin: Record<string, string> }
  const programs = Object.entries(bin).map(([name, path]) => [name, path.replace(/^dist\/(.*)\.js$/, '$1.ts')] as const)
  const isAgent = ([name]: readonly [string, string]) => name === AGENT
  const built = await Promise.all([
    bundled(Object.fromEntries(programs.filter(isAgent))),
    bundled({ ...Object.fromEntries(programs.filter(each => !isAgent(each))), ...INNER }),
  ])
  // names of chunks are digests of their content: where both have a file, it is the same
  const files = new Map(
    built.flatMap(({ outputFiles }) =>
      outputFiles.map(({ path, contents }) => [relative(`${ROOT}/out`, path), contents] as const),
    ),
  )
  const used = built.flatMap(({ metafile }) =>
    Object.values(metafile.outputs).flatMap(({ inputs }) => Object.keys(inputs)),
  )
  const page = await bundlePages()
  for (const [name, contents] of page.files) files.set(`ui/assets/${name}`, contents)
  const names = used.flatMap(input => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1] ?? [])
  return { files, packages: [...new Set([...names, ...page.packages])].sort() }
}

type Built = BuildResult<{ write: false; metafile: true }>

/** `entryPoints`: the source of each program by its name. */
function bundled(entryPoints: Record<string, string>): Promise<Built> {
  return build({
    absWorkingDir: ROOT,
    entryPoints,
    outdir: 'out',
    chunkNames: 'chunks/[name]-[hash]',
    write: false,
    metafile: true,
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    charset: 'utf8',
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none', // the image has the licences
    banner: { js: COMMON_JS },
    plugins: [nativeLibraries],
    logLevel: 'warning',
    logLimit: 20,
  })
}
