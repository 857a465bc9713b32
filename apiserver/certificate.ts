// A self-signed certificate of the server's own, made at the first start: kubectl sends no token over plain HTTP. DER by
// hand (RFC 5280, X.690), since Node signs but writes no certificates. ECDSA on P-256; valid for ten years.
import { generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { addressBytes, parseAddress } from '../lib/ip.ts'
import { readSecret, writeNew } from './secret-files.ts'

type KeyAndCertificate = { cert: string; key: string }

const YEARS = 10
/** A machine whose clock is not set yet takes itself to be in 1970, and is not: its certificate must last. */
const LEAST_NOW_MS = Date.UTC(2026, 0, 1)
const NAME = 'margay-api'
const RENEW_MS = 30 * 86_400_000

const OID = {
  ecdsaWithSha256: [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
  commonName: [0x55, 0x04, 0x03],
  basicConstraints: [0x55, 0x1d, 0x13],
  keyUsage: [0x55, 0x1d, 0x0f],
  extendedKeyUsage: [0x55, 0x1d, 0x25],
  serverAuth: [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
  subjectAltName: [0x55, 0x1d, 0x11],
} as const
const TAG = {
  boolean: 1,
  integer: 2,
  bitString: 3,
  octetString: 4,
  oid: 6,
  utf8: 12,
  utcTime: 23,
  generalizedTime: 24,
  sequence: 48,
  set: 49,
}
/** Of a context-specific tag: alone, and around other values. */
const CONTEXT = 0x80
const CONSTRUCTED = 0xa0
const DNS_NAME = 2
const IP_ADDRESS = 7
/** keyUsage digitalSignature and keyCertSign, with the number of bits that are not used. */
const KEY_USAGE = [2, 0x84]

/** The certificate that lies in `dir`, or a new one when there is none, it ends soon, or is not for all of `hosts`. */
export function ownCertificate(dir: string, hosts: readonly string[], nowMs: number): KeyAndCertificate {
  const paths = { cert: join(dir, 'tls.crt'), key: join(dir, 'tls.key') }
  try {
    const known = { cert: readSecret(paths.cert), key: readSecret(paths.key) }
    if (isUsable(known.cert, hosts, nowMs)) return known
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const made = selfSigned(hosts, nowMs)
  for (const part of ['key', 'cert'] as const) {
    rmSync(paths[part], { force: true })
    writeNew(paths[part], made[part])
  }
  return made
}

function isUsable(cert: string, hosts: readonly string[], nowMs: number): boolean {
  const read = new X509Certificate(cert)
  const isFor = (host: string): boolean =>
    (parseAddress(host) === undefined ? read.checkHost(host) : read.checkIP(host)) !== undefined
  const isValid = Date.parse(read.validFrom) <= nowMs && Date.parse(read.validTo) - nowMs > RENEW_MS
  return isValid && hosts.every(isFor)
}

/** A fresh key and a certificate for `hosts` (names and addresses), PEM. Its issuer is itself. */
export function selfSigned(hosts: readonly string[], nowMs: number): KeyAndCertificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = sequence(oid(OID.ecdsaWithSha256))
  const name = sequence(der(TAG.set, sequence(oid(OID.commonName), der(TAG.utf8, Buffer.from(NAME)))))
  // the first octet keeps the number positive and of full length
  const serial = Buffer.concat([Buffer.of(0x40), randomBytes(15)])
  const signed = sequence(
    der(CONSTRUCTED, der(TAG.integer, Buffer.of(2))),
    der(TAG.integer, serial),
    algorithm,
    name,
    // from the beginning of time: clients trust this certificate alone, and a clock may be wrong or set back later
    sequence(time(0), time(Math.max(nowMs, LEAST_NOW_MS) + YEARS * 365 * 86_400_000)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(CONSTRUCTED | 3, sequence(...extensionsFor(hosts))),
  )
  const signature = Buffer.concat([Buffer.of(0), sign('sha256', signed, privateKey)])
  const certificate = sequence(signed, algorithm, der(TAG.bitString, signature))
  return { cert: pem('CERTIFICATE', certificate), key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
}

function extensionsFor(hosts: readonly string[]): Buffer[] {
  const names = hosts.map(host => {
    const address = parseAddress(host)
    return address === undefined
      ? der(CONTEXT | DNS_NAME, Buffer.from(host))
      : der(CONTEXT | IP_ADDRESS, Buffer.from(addressBytes(address)))
  })
  return [
    extension(OID.basicConstraints, sequence(der(TAG.boolean, Buffer.of(0xff))), true),
    extension(OID.keyUsage, der(TAG.bitString, Buffer.from(KEY_USAGE)), true),
    extension(OID.extendedKeyUsage, sequence(oid(OID.serverAuth)), false),
    extension(OID.subjectAltName, sequence(...names), false),
  ]
}

function extension(id: readonly number[], value: Buffer, critical: boolean): Buffer {
  const mark = critical ? [der(TAG.boolean, Buffer.of(0xff))] : []
  return sequence(oid(id), ...mark, der(TAG.octetString, value))
}

function oid(octets: readonly number[]): Buffer {
  return der(TAG.oid, Buffer.from(octets))
}

/** RFC 5280 §4.1.2.5: UTCTime, with two digits for the year, before 2050. */
function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '')
  return text < '2050' ? der(TAG.utcTime, Buffer.from(text.slice(2))) : der(TAG.generalizedTime, Buffer.from(text))
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(TAG.sequence, ...parts)
}

/** tag u8 | length | value; a length above 127 is 0x80 + its number of octets, then the octets. */
function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const value = Buffer.concat(parts)
  if (value.length < 0x80) return Buffer.concat([Buffer.of(tag, value.length), value])
  const length: number[] = []
  for (let rest = value.length; rest > 0; rest = Math.floor(rest / 256)) length.unshift(rest % 256)
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length, ...length), value])
}

function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
