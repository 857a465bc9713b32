import test from 'ava'
import { checkText } from '../../lib/check-text.ts'

test('a check that fails and does not decide leaves the outcome as it is', t => {
  const ok = { name: 'a', ok: true, detail: '', decides: true }
  const minor = { name: 'b', ok: false, detail: 'x\ny', decides: false }
  t.is(checkText('livez', [ok, minor]), '[+]a ok\n[!]b failed: x y\nlivez check passed\n')
  t.is(checkText('readyz', [{ ...minor, decides: true }]), '[-]b failed: x y\nreadyz check failed\n')
})
