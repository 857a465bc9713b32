// Felix on the fake kernel, which has every tunnel kind.
import test from 'ava'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { felixSuite } from './suite.ts'
import { FULL } from './worlds.ts'

felixSuite(test, {
  full: FULL,
  open: async () => {
    const world = new FakeWorld()
    return { kernel: world.kernel(), otherProgram: world.kernel(), close: async () => {} }
  },
})
