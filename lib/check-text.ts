// The answer to `/readyz?verbose`, in the form that Kubernetes' own programs give: one line for each check, then the outcome.

export type Check = { name: string; ok: boolean; detail: string }

/** `what` is the name of the question: `readyz` or `livez`. Checks that do not decide are told as `[!]` when they fail. */
export function checkText(what: string, checks: readonly (Check & { decides: boolean })[]): string {
  const lines = checks.map(({ name, ok, detail, decides }) =>
    ok ? `[+]${name} ok\n` : `[${decides ? '-' : '!'}]${name} failed: ${detail.replaceAll('\n', ' ')}\n`,
  )
  const passed = checks.every(({ ok, decides }) => ok || !decides)
  return `${lines.join('')}${what} check ${passed ? 'passed' : 'failed'}\n`
}
