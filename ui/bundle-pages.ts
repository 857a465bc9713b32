// Builds the page's files: one script with its libraries, one style sheet, and the page that names both by digests of their content.
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** `files` by name; `packages`: npm packages of which something is in them. The same source gives the same. Rejects with what the build says. */
export async function bundlePages(): Promise<{ files: Map<string, Uint8Array>; packages: string[] }> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: { app: 'ui/pages/app.ts', style: 'ui/pages/style.css' },
    entryNames: '[name]-[hash]',
    outdir: 'out',
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    platform: 'browser',
    target: ['es2022', 'chrome110', 'firefox115', 'safari16'],
    format: 'esm',
    charset: 'utf8',
    legalComments: 'none',
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'silent',
  })
  const files = new Map(outputFiles.map(({ path, contents }) => [basename(path), contents]))
  const named = (pattern: RegExp) => [...files.keys()].find(name => pattern.test(name)) ?? ''
  const page = readFileSync(`${ROOT}ui/pages/index.html`, 'utf8')
    .replace('app.js', named(/^app-.*\.js$/))
    .replace('style.css', named(/^style-.*\.css$/))
  files.set('index.html', Buffer.from(page))
  files.set('icon.svg', readFileSync(`${ROOT}ui/pages/icon.svg`))
  const inputs = Object.values(metafile.outputs).flatMap(output => Object.keys(output.inputs))
  const packages = inputs.flatMap(input => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1] ?? [])
  return { files, packages: [...new Set(packages)].sort() }
}
