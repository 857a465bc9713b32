import test from 'ava'
import { descriptorConditions } from '../../agent/descriptors.ts'

test('a process, or a machine, without a free descriptor is told with its own remedy, and nothing else is', t => {
  t.deepEqual(descriptorConditions(), [])
  for (const [code, remedy] of [
    ['EMFILE', /open files of margay-node.*\/proc\/\d+\/fd/],
    ['ENFILE', /fs\.file-max/],
  ] as const) {
    const [condition] = descriptorConditions(() => {
      throw Object.assign(new Error(`${code}: too many open files`), { code })
    })
    t.like(condition, { type: 'DescriptorsLeft', status: 'False', reason: 'NoDescriptor' })
    t.true(condition?.message.includes(code))
    t.regex(condition!.remedy, remedy)
  }
  const missing = () => {
    throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
  }
  t.deepEqual(descriptorConditions(missing), [])
})
