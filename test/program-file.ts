// The programs under test as files to start.
import { join } from 'node:path'

const root = new URL('..', import.meta.url).pathname

/**
 * A program by its path in the source without its ending, such as `ctl/main`. `npm test` builds them once into one file
 * each, which starts in half the time; a file of tests that runs alone starts the source.
 */
export function programUnderTest(path: string): string {
  const built = process.env['MARGAY_TEST_PROGRAMS']
  return built === undefined ? join(root, `${path}.ts`) : join(built, `${path}.js`)
}
