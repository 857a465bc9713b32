// BGP passwords that objects name: where each one is, and what of it is one. Pure. No text here ever holds a password: conditions go
// to logs and to people.
import type { Resource } from '../../api/kinds.ts'
import type { CauseOf, ConditionCause, ReasonOf } from '../../api/status.ts'

/** A key of a Secret in the namespace of the agents. */
export type SecretKey = { name: string; key: string }

/** What is known of the value of such a key. */
export type Password = { text: string } | { missing: CauseOf<'PeersConfigured'> }

/** TCP_MD5SIG_MAXKEYLEN (linux/tcp.h). */
const MOST_OCTETS = 80

/** What becomes of sessions without their password. */
export const NO_SESSION = 'there is no session'

/** Nobody has said yet what the Secret holds. */
export const NOT_READ: CauseOf<'PeersConfigured'> = {
  reason: 'SecretNotRead',
  message: `the Secret with the password was not read yet; ${NO_SESSION}`,
  remedy: 'wait for the API server, or look at the condition ApiServerConnected',
}

/** The password that an object names; undefined where it names none. What names no Secret names one that there is not. */
export function passwordOf(
  field: Resource<'BGPPeer'>['spec']['password'] | Resource<'BGPConfiguration'>['spec']['nodeMeshPassword'],
): SecretKey | undefined {
  if (field === undefined) return undefined
  const { name = '', key = '' } = field.secretKeyRef ?? {}
  return { name, key }
}

export function sameKey(a: SecretKey | undefined, b: SecretKey | undefined): boolean {
  return a?.name === b?.name && a?.key === b?.key
}

/** Names one for maps and for people. */
export function keyOf({ name, key }: SecretKey): string {
  return `${name}/${key}`
}

/** What the value of a key is as a password; `data` is that of the Secret, in base64, or undefined where there is no Secret. */
export function judgePassword(
  { name, key }: SecretKey,
  data: Readonly<Record<string, string>> | undefined,
  namespace: string,
): Password {
  const secret = `Secret ${namespace}/${name}`
  if (data === undefined)
    return missing('NoSecret', `${secret}, which has the password, does not exist`, `create it with the key ${key}`)
  const value = Object.hasOwn(data, key) ? data[key] : undefined
  if (value === undefined)
    return missing('NoKey', `${secret} has no key ${key}, which is to be the password`, `add the key to the Secret`)
  return judgeOctets(Buffer.from(value, 'base64'), `key ${key} of ${secret}`)
}

function judgeOctets(octets: Buffer, what: string): Password {
  const again = 'write it anew, such as with kubectl create secret generic --from-literal'
  if (octets.length === 0) return missing('EmptyPassword', `the password in ${what} is empty`, again)
  if (octets.length > MOST_OCTETS)
    return missing(
      'LongPassword',
      `the password in ${what} has ${octets.length} octets, and the kernel takes ${MOST_OCTETS} (TCP_MD5SIG_MAXKEYLEN)`,
      'take a shorter one, at both ends',
    )
  const text = octets.toString()
  // the other end could not have it in its configuration: mostly the line end of a file
  if (!Buffer.from(text).equals(octets) || /\p{Cc}/u.test(text))
    return missing('NoText', `the password in ${what} holds a line end, or what is no text`, again)
  return { text }
}

/** The server does not let this agent read a Secret; `then` is what becomes of its sessions. */
export function forbidden(name: string, namespace: string, then: string): ConditionCause<'Forbidden'> {
  const role = `margay-bgp-${name}`
  return {
    reason: 'Forbidden',
    message: `the API server does not let this agent read Secret ${namespace}/${name}, which has BGP passwords; ${then}`,
    remedy: `give the account of the agents a Role for this Secret alone: kubectl -n ${namespace} create role ${role} --verb=list,watch --resource=secrets --resource-name=${name} && kubectl -n ${namespace} create rolebinding ${role} --role=${role} --serviceaccount=${namespace}:margay-node`,
  }
}

/** More Secrets are named than an agent watches. */
export function tooMany(name: string, most: number): Password {
  return missing(
    'TooManySecrets',
    `the sessions of this node name more than ${most} Secrets, and ${name} is not read`,
    'put passwords of several peers under keys of one Secret',
  )
}

/** What is called so can be no object. */
export function noSecret(): Password {
  return missing('NoSecret', 'the password names no Secret that there can be', 'set name and key of secretKeyRef')
}

function missing(reason: ReasonOf<'PeersConfigured'>, message: string, remedy: string): Password {
  return { missing: { reason, message: `${message}; ${NO_SESSION}`, remedy } }
}
