// Opens a data directory in a process of its own, says how that went, and stays until it is killed or has lost the
// directory. With a second argument it writes all the time.
import { openDataDirectory } from '../../agent/data-directory.ts'

try {
  const [, , path, writes] = process.argv
  const { node } = openDataDirectory(path!, { owner: { node: 'n1' }, lost: () => process.exit(3) })
  node.exec('CREATE TABLE IF NOT EXISTS note (text TEXT)')
  const insert = node.prepare('INSERT INTO note VALUES (?)')
  if (writes !== undefined) setInterval(() => insert.run('mine'), 1)
  process.send!('opened')
} catch (error) {
  process.send!(`${(error as Error).name}: ${(error as Error).message}`)
}
setInterval(() => undefined, 1 << 30)
