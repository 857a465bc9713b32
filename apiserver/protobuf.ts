// What kubectl sends as protobuf whatever it is offered: `kubectl create namespace`, `create serviceaccount`, `create secret` and the
// reviews of `kubectl auth`. A message starts with `k8s\0` and wraps a runtime.Unknown; of what it creates only the metadata says anything,
// but for a Secret. Other kinds are refused. Sources: generated.proto of k8s.io/apimachinery/pkg/runtime, meta/v1, k8s.io/api/core/v1 and
// authorization/v1; the wire format.
import { ApiError } from './status.ts'

const MAGIC = Buffer.from('k8s\0')
const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

type Field = { number: number; bytes: Buffer }

/** Whether a body is Kubernetes' protobuf envelope. */
export function isProtobuf(body: Buffer): boolean {
  return body.subarray(0, MAGIC.length).equals(MAGIC)
}

/** The Namespace, ServiceAccount, Secret or review in the envelope. Throws UnsupportedMediaType for others, BadRequest when it is cut short. */
export function parseProtobuf(body: Buffer): unknown {
  try {
    const envelope = fieldsOf(body.subarray(MAGIC.length))
    const type = fieldsOf(bytesOf(envelope, 1) ?? Buffer.alloc(0))
    const kind = textOf(type, 2)
    const apiVersion = textOf(type, 1)
    const message = fieldsOf(bytesOf(envelope, 2) ?? Buffer.alloc(0))
    if (kind === 'SelfSubjectReview' || kind === 'SelfSubjectRulesReview') return { apiVersion, kind, spec: {} }
    if (kind === 'SelfSubjectAccessReview') return { apiVersion, kind, spec: accessSpecOf(inner(message, 2)) }
    if (kind !== 'Namespace' && kind !== 'ServiceAccount' && kind !== 'Secret')
      throw new ApiError('UnsupportedMediaType', `protobuf is not accepted for ${kind}: send application/json`)
    const metadata = inner(message, 1)
    const maps = { labels: mapOf(metadata, 11), annotations: mapOf(metadata, 12) }
    const names = { name: textOf(metadata, 1), generateName: textOf(metadata, 2), namespace: textOf(metadata, 3) }
    return { apiVersion, kind, metadata: { ...names, ...maps }, ...(kind === 'Secret' && secretOf(message)) }
  } catch (error) {
    if (error instanceof RangeError) throw new ApiError('BadRequest', 'the protobuf body is cut short')
    throw error
  }
}

/** Secret: data(2), a map of octets; type(3); stringData(4). */
function secretOf(message: readonly Field[]): object {
  const data = mapOf(message, 2, bytes => bytes.toString('base64'))
  return { data, type: textOf(message, 3), stringData: mapOf(message, 4) }
}

/** SelfSubjectAccessReviewSpec: resourceAttributes(1) or nonResourceAttributes(2). */
function accessSpecOf(spec: readonly Field[]): object {
  if (bytesOf(spec, 2) !== undefined) {
    const attributes = inner(spec, 2)
    return { nonResourceAttributes: { path: textOf(attributes, 1), verb: textOf(attributes, 2) } }
  }
  const names = ['namespace', 'verb', 'group', 'version', 'resource', 'subresource', 'name']
  const attributes = inner(spec, 1)
  return { resourceAttributes: Object.fromEntries(names.map((name, i) => [name, textOf(attributes, i + 1) ?? ''])) }
}

/** The fields of the message in a field. */
function inner(fields: readonly Field[], number: number): Field[] {
  return fieldsOf(bytesOf(fields, number) ?? Buffer.alloc(0))
}

/** The length-delimited fields of a message in order; numbers are skipped. Throws RangeError when it is cut short. */
function fieldsOf(message: Buffer): Field[] {
  const fields: Field[] = []
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 70; shift += 7) {
      const octet = message.readUInt8(at++)
      value += (octet & 0x7f) * 2 ** shift
      if (octet < 0x80) return value
    }
    throw new RangeError('varint without end')
  }
  const skip = (length: number): number => {
    if (at + length > message.length) throw new RangeError('field without end')
    at += length
    return at - length
  }
  while (at < message.length) {
    const key = varint()
    const [number, wireType] = [Math.floor(key / 8), key % 8]
    if (wireType === VARINT) varint()
    else if (wireType === FIXED64) skip(8)
    else if (wireType === FIXED32) skip(4)
    else if (wireType === BYTES) {
      const length = varint()
      const start = skip(length)
      fields.push({ number, bytes: message.subarray(start, start + length) })
    } else throw new RangeError(`wire type ${wireType}`)
  }
  return fields
}

function bytesOf(fields: readonly Field[], number: number): Buffer | undefined {
  return fields.findLast(field => field.number === number)?.bytes
}

function textOf(fields: readonly Field[], number: number): string | undefined {
  const text = bytesOf(fields, number)?.toString('utf8')
  return text === '' ? undefined : text
}

/** A map with keys of text, entries with key(1) and value(2); undefined when there are none. */
function mapOf(
  fields: readonly Field[],
  number: number,
  textFrom: (bytes: Buffer) => string = bytes => bytes.toString('utf8'),
): Record<string, string> | undefined {
  const entries = fields.filter(field => field.number === number).map(({ bytes }) => fieldsOf(bytes))
  return entries.length === 0
    ? undefined
    : Object.fromEntries(entries.map(entry => [textOf(entry, 1) ?? '', textFrom(bytesOf(entry, 2) ?? Buffer.alloc(0))]))
}
