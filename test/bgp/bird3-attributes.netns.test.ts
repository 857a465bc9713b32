import test from 'ava'
import { attributeSuite } from './attribute-suite.ts'
import { bird3 } from './daemons.ts'

attributeSuite(test, bird3)
