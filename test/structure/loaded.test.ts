// What a program loads when it starts: the imports of its files that are there at run time, and no `import()`.
import test from 'ava'
import { targetOf, textOf } from './source.ts'

/** The files that are loaded with a file, itself too, and the packages. */
function loadedWith(file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found
  found.add(file)
  const imports = /^(?:import|export)\b(?! type\b)(?:[^'"`;]*?\bfrom)?\s*['"]([^'"]+)['"]/gm
  for (const [, specifier] of textOf(file).matchAll(imports))
    if (specifier!.startsWith('.')) loadedWith(targetOf({ file, specifier: specifier!, names: [] }), found)
    else if (!specifier!.startsWith('node:')) found.add(specifier!)
  return found
}

test('before its compile cache is set an agent loads its flags alone', t => {
  t.deepEqual([...loadedWith('agent/main.ts')].sort(), [
    'agent/commands.ts',
    'agent/compile-cache.ts',
    'agent/heap.ts',
    'agent/main.ts',
    'api/api-group.ts',
    'api/names.ts',
    'cni/capabilities.ts',
    'cni/conflist.ts',
    'commander',
  ])
})

test('an agent that runs loads neither the installer nor the compiler of the plugin', t => {
  const loaded = loadedWith('agent/run.ts')
  t.true(loaded.has('agent/node-agent.ts') && loaded.has('cni/verbs/add.ts'))
  t.deepEqual(
    ['cni/install.ts', 'cni/compile.ts', 'agent/install.ts', 'agent/remove.ts'].filter(file => loaded.has(file)),
    [],
  )
})
