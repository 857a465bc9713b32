// Why the API server cannot be reached, as a condition: the cause is what the system, TLS or the server said, and each cause
// has a remedy of its own. Pure. The kubeconfig is named only where it may be wrong.
import { broken, type Condition, type ReasonOf } from '../../api/status.ts'
import { NotFound, Refused, Unreachable } from '../../datastore/port.ts'

type Why = { reason: ReasonOf<'ApiServerConnected'>; remedy: string }

const NO_DESCRIPTOR: Why = {
  reason: 'NoDescriptor',
  remedy: 'the agent, or the machine, has no file descriptor left: look at the condition DescriptorsLeft',
}

/** By the code of the error of Node. */
const BY_CODE: Readonly<Record<string, Why>> = {
  ECONNREFUSED: {
    reason: 'NothingListens',
    remedy: 'start the API server; if it runs elsewhere, correct the server address in the kubeconfig',
  },
  ECONNRESET: { reason: 'ConnectionLost', remedy: 'look whether the API server restarts, and at what is between' },
  ENETUNREACH: {
    reason: 'NoRoute',
    remedy:
      'this node has no route there, often because its default route was lost: ip route get ADDRESS shows it; restore the route',
  },
  EHOSTUNREACH: {
    reason: 'NoRoute',
    remedy: 'the next router or the host does not answer: look at ip route get ADDRESS and ip neigh, then at the link',
  },
  EADDRNOTAVAIL: {
    reason: 'NoLocalAddress',
    remedy:
      'this node has no address, or no free port, to connect from: look at ip address and at the condition NodeAddressKnown',
  },
  EPERM: {
    reason: 'Filtered',
    remedy:
      'this node drops its own packets: look at ConnectionsTracked (full connection tracking), then at nft list ruleset',
  },
  ETIMEDOUT: {
    reason: 'NoAnswer',
    remedy:
      'packets get lost: look at ConnectionsTracked, at the route there (ip route get ADDRESS) and at firewalls between',
  },
  ENOTFOUND: { reason: 'NameUnknown', remedy: 'correct the server name in the kubeconfig, or add it to DNS' },
  CERT_HAS_EXPIRED: {
    reason: 'CertificateExpired',
    remedy: 'renew the certificate of the API server; if it is valid, set the clock of this machine',
  },
  CERT_NOT_YET_VALID: {
    reason: 'CertificateNotYetValid',
    remedy: 'set the clock of this machine; if it is right, look at when the certificate of the API server begins',
  },
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: {
    reason: 'CertificateExpired',
    remedy: 'renew the client certificate in the kubeconfig; if it is valid, set the clock of the API server',
  },
  EMFILE: NO_DESCRIPTOR,
  ENFILE: NO_DESCRIPTOR,
  EAI_AGAIN: { reason: 'NoNameServer', remedy: 'no name server answers: look at /etc/resolv.conf and the route there' },
}

const NO_ANSWER: Why = BY_CODE['ETIMEDOUT']!
const UNTRUSTED: Why = {
  reason: 'NotTrusted',
  remedy:
    'correct certificate-authority of the kubeconfig; if that is right, look at the clock of this machine and at who answers there',
}
const NOT_SERVED: Why = {
  reason: 'NotServed',
  remedy:
    'apply the CRDs of this version where the API server lacks the kind; else look at who answers at the server address in the kubeconfig',
}
const SHEDS_LOAD: Why = {
  reason: 'TooManyRequests',
  remedy: 'the API server sheds load: look at who asks it most, and at its FlowSchemas',
}
const SERVER_FAILS: Why = {
  reason: 'ServerFails',
  remedy: 'look at the log of the API server, and at its disk or its etcd',
}
const NO_API: Why = {
  reason: 'NoApiServer',
  remedy: 'look at who answers at the server address in the kubeconfig, and at a proxy before it',
}
const OTHER: Why = { reason: 'Disconnected', remedy: 'look at what the API server says, and at its log' }

/** `cause`: what the watches were told last; undefined before the first answer. */
export function disconnected(cause: Error | undefined): Condition {
  const { reason, remedy } = why(cause)
  const said = cause === undefined ? 'the API server did not answer yet' : cause.message
  const message = `${said}; this node works from what it saw last`
  return broken('ApiServerConnected', { reason, message, remedy })
}

function why(cause: Error | undefined): Why {
  if (cause instanceof Refused) return refused(cause)
  if (cause instanceof NotFound) return NOT_SERVED
  if (cause instanceof Unreachable && cause.status !== undefined)
    return cause.status === 429 ? SHEDS_LOAD : SERVER_FAILS
  for (let error: unknown = cause; error instanceof Error; error = error.cause) {
    const code = String(Reflect.get(error, 'code') ?? '')
    const known = BY_CODE[code]
    if (known !== undefined) return known
    if (/CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL/.test(code)) return UNTRUSTED
    if (error instanceof SyntaxError) return NO_API
    if (error.name === 'AbortError' || error.name === 'TimeoutError') return NO_ANSWER
  }
  return OTHER
}

function refused({ status }: Refused): Why {
  if (status === 401)
    return { reason: 'Unauthorized', remedy: 'put a token or client certificate that is valid into the kubeconfig' }
  if (status === 403)
    return {
      reason: 'Forbidden',
      remedy: 'let the user of the kubeconfig list and watch what the message names (RBAC)',
    }
  return OTHER
}
