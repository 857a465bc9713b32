import test from 'ava'
import { attributeSuite } from './attribute-suite.ts'
import { bird } from './daemons.ts'

attributeSuite(test, bird)
