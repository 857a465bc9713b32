import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { ownCertificate, selfSigned } from '../../apiserver/certificate.ts'

const NOW = Date.UTC(2026, 5, 1)
const YEAR_MS = 365 * 86_400_000

test('a certificate that was made with a wrong clock is valid with the right one', t => {
  for (const [title, atMs] of [
    ['a clock that was never set', 0],
    ['hours ahead', NOW + 10 * 3_600_000],
    ['years ahead', NOW + 20 * YEAR_MS],
    ['the right one', NOW],
  ] as const) {
    const { validFrom, validTo } = new X509Certificate(selfSigned(['127.0.0.1'], atMs).cert)
    t.true(Date.parse(validFrom) <= 0, `${title}: ${validFrom}`)
    t.true(Date.parse(validTo) > NOW + 9 * YEAR_MS, `${title}: ${validTo}`)
  }
})

test('a clock that is set hours ahead, back or to 1970 leaves the certificate as it is, so that its clients go on', t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-certificate-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const { cert } = ownCertificate(dir, ['127.0.0.1'], NOW)
  for (const atMs of [NOW + 10 * 3_600_000, NOW - 10 * 3_600_000, 0, NOW + 8 * YEAR_MS])
    t.is(String(ownCertificate(dir, ['127.0.0.1'], atMs).cert), String(cert))
})
