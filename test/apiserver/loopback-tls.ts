// A fresh self-signed certificate for 127.0.0.1 and its key, made with openssl where there is one.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemProgram } from '../../lib/system-program.ts'

/** PEM text, valid for a day; undefined when openssl cannot be run. */
export function loopbackTls(): { cert: string; key: string } | undefined {
  const dir = mkdtempSync(join(tmpdir(), 'margay-tls-'))
  try {
    const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')]
    const request = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '1',
    ]
    const subject = ['-subj', '/CN=margay-test', '-addext', 'subjectAltName=IP:127.0.0.1']
    const { status } = spawnSync(systemProgram('openssl'), [...request, ...subject, '-keyout', key, '-out', cert])
    return status === 0 ? { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') } : undefined
  } finally {
    rmSync(dir, { recursive: true })
  }
}
