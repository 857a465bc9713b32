import test from 'ava'
import { attributeSuite } from './attribute-suite.ts'
import { exabgp } from './daemons.ts'

attributeSuite(test, exabgp)
