// Opens a data directory in a process of its own, says how that went, and stays until it is killed.
import { openDataDirectory } from '../../agent/data-directory.ts'

try {
  openDataDirectory(process.argv[2]!)
  process.send!('opened')
} catch (error) {
  process.send!(`${(error as Error).name}: ${(error as Error).message}`)
}
setInterval(() => undefined, 1 << 30)
