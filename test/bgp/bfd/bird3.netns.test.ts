import test from 'ava'
import { bird3Bfd } from './daemons.ts'
import { interopSuite } from './interop-suite.ts'

interopSuite(test, bird3Bfd)
