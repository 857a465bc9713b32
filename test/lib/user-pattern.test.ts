import test from 'ava'
import { userPattern } from '../../lib/user-pattern.ts'

test('a pattern of names of interfaces matches as Calico’s do', t => {
  for (const [text, name, fits] of [
    ['eth.*', 'eth0', true],
    ['^(en|eth)[0-9]{1,3}$', 'en12', true],
    ['^(en|eth)[0-9]{1,3}$', 'en1234', false],
    ['((ens|eno).*)|bond0', 'bond0', true],
    ['^en(?:p|o)\\w+$', 'enp0s3', true],
    ['\\d', 'lo', false],
  ] as const)
    t.is(userPattern(text).test(name), fits, `${text} ${name}`)
})

test('no pattern holds the program up, in however many ways a name could be tried', t => {
  // the usual engine needs minutes for each
  for (const text of [
    '((((((a+)+)+)+)+)+)+$',
    '^(a|a|aa)*(a|a|aa)*(a|a|aa)*$',
    '(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)[c-z]',
  ])
    t.false(userPattern(text).test(`${'a'.repeat(60)}b`), text)
})

test('what cannot be matched in linear time, or is none, is refused with its text', t => {
  for (const text of ['(a|b)\\1((((a+)+)+)+)+$', '(?=a)((((a+)+)+)+)+$', '^(?!lo)', 'eth(', '(a{1,1000}){1,1000}'])
    t.throws(
      () => userPattern(text),
      { message: new RegExp(`^${RegExp.escape(text)} is no regular expression: `) },
      text,
    )
})
