// The files of the page. The published package and the image have them ready; from the source they are built at the start.
import { readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { isBuilt, packageFile } from '../lib/package-files.ts'

/** `path`: as a browser asks for it. Where the name has a digest of the content it never changes. */
export type Asset = { path: string; type: string; contents: Uint8Array; isImmutable: boolean }

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** The folder in the package and in the image. */
const FOLDER = 'ui/assets/'

/** All files of the page. Rejects as the file system, or with what the build says. */
export async function pageAssets(): Promise<Asset[]> {
  if (isBuilt)
    return readdirSync(packageFile(FOLDER)).map(name => asset(name, readFileSync(packageFile(`${FOLDER}${name}`))))
  // by an address that bundlers do not follow: esbuild is there for development alone
  const bundler = new URL('./bundle-pages.ts', import.meta.url).href
  const { bundlePages } = (await import(bundler)) as typeof import('./bundle-pages.ts')
  const { files } = await bundlePages()
  return [...files].map(([name, contents]) => asset(name, contents))
}

function asset(name: string, contents: Uint8Array): Asset {
  const isImmutable = /-[A-Z0-9]{8}\./.test(name)
  return { path: `/${name}`, type: TYPES[extname(name)] ?? 'application/octet-stream', contents, isImmutable }
}
