import test from 'ava'
import { attributeSuite } from './attribute-suite.ts'
import { frr } from './daemons.ts'

attributeSuite(test, frr)
