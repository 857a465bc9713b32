// The answer to `/readyz?verbose`, in the form that Kubernetes' own programs give: one line for each check, then the outcome.

/** `decides`: whether the outcome depends on it; one that does not is told as `[!]` when it fails. */
type Check = { name: string; ok: boolean; detail: string; decides: boolean }

/** `what` is the name of the question: `readyz` or `livez`. */
export function checkText(what: string, checks: readonly Check[]): string {
  const lines = checks.map(({ name, ok, detail, decides }) =>
    ok ? `[+]${name} ok\n` : `[${decides ? '-' : '!'}]${name} failed: ${detail.replaceAll('\n', ' ')}\n`,
  )
  const passed = checks.every(({ ok, decides }) => ok || !decides)
  return `${lines.join('')}${what} check ${passed ? 'passed' : 'failed'}\n`
}
