// Over 400 lines: one browser serves all tests of the page, and each file would start its own.
// The map's page in Debian's Chromium: by keyboard, with names that try to be HTML, in three widths and two themes, and with a thousand
// nodes. `npm run test:map` installs the browser, and writes pictures for a person to look at where MARGAY_SHOTS names a folder.
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test, { type ExecutionContext } from 'ava'
import { type Browser, chromium, type Page } from 'playwright-core'
import type { Flow } from '../../api/answers.ts'
import { pageAssets } from '../../ui/assets.ts'
import type { NodeSnapshot, SeenNode } from '../../ui/model.ts'
import { type MapSource, serveMap } from '../../ui/server.ts'
import { anExplanation } from './explanations.ts'

const CHROMIUM = '/usr/bin/chromium'
const SHOTS = process.env['MARGAY_SHOTS']
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
const NOW = Date.parse('2026-01-02T03:04:05Z')
const WIDTHS = [360, 1024, 1920] as const

const inBrowser = existsSync(CHROMIUM) ? test.serial : test.skip
if (!existsSync(CHROMIUM))
  test('the map in a browser', t => {
    t.log('skipped: chromium is not installed (npm run test:map)')
    t.pass()
  })

let browser: Browser
test.before(async () => {
  if (!existsSync(CHROMIUM)) return
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    // a machine without a graphics card draws WebGL by its processor
    args: ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--disable-background-networking'],
  })
})
test.after.always(() => browser?.close())

function snapshot(node: string, more: Partial<NodeSnapshot> = {}): NodeSnapshot {
  return {
    ...{ node, atMs: NOW, address: '192.0.2.1', subnet: '192.0.2.0/24', ready: true, wrong: [], pods: [], podCount: 0 },
    ...{ blocks: [], sessions: { up: 2, down: [], downCount: 0 }, paths: [] },
    ...more,
  }
}

const pod = (name: string) => ({ namespace: 'default', name, addresses: ['10.244.0.5'] })

/** Three nodes on two LANs: n2 has a fault, n3 is silent, and VXLAN from n1 to n3 is lost. */
const FEW: readonly SeenNode[] = [
  {
    node: 'n1',
    last: snapshot('n1', {
      ...{ pods: [pod('web'), pod('shop')], podCount: 2 },
      blocks: [{ cidr: '10.244.0.0/26', pool: 'default', used: 2, size: 64 }],
      paths: [
        { node: 'n2', encapsulation: 'direct', state: 'passes', sinceMs: NOW },
        { node: 'n3', encapsulation: 'vxlan', state: 'lost', sinceMs: NOW },
      ],
    }),
  },
  {
    node: 'n2',
    last: snapshot('n2', {
      ...{ ready: false, address: '192.0.2.2', pods: [pod('db')], podCount: 1 },
      wrong: [
        {
          ...{ type: 'PodTrafficPasses', status: 'False', reason: 'LinkDown', message: 'eth0 is down' },
          ...{ remedy: 'ip link set eth0 up', page: 'docs/conditions.md#podtrafficpasses-linkdown' },
        },
      ],
    }),
  },
  {
    node: 'n3',
    silent: 'nobody listens',
    last: snapshot('n3', { subnet: '198.51.100.0/24', address: '198.51.100.3' }),
  },
]

const FLOW: Flow & { node: string } = {
  ...{ first: '2026-01-02T03:04:05Z', last: '2026-01-02T03:04:05Z', packets: 3, verdict: 'deny', family: 'ipv4' },
  ...{
    protocol: 'tcp',
    destinationPort: 443,
    because: 'rule',
    policy: 'NetworkPolicy default/shut',
    rule: 0,
    node: 'n1',
  },
  source: { address: '10.244.0.5', kind: 'Pod', namespace: 'default', name: 'web' },
  destination: { address: '10.244.1.5', kind: 'Pod', namespace: 'default', name: 'db' },
}

const EVENT = {
  ...{ node: 'n1', at: '2026-01-02T03:04:05Z', type: 'Healed', reason: 'ChangedByOther', message: 'put back' },
  object: { kind: 'Route', name: '10.244.1.0/26' },
}

type World = Partial<MapSource> & { nodes?: readonly SeenNode[]; width?: number; theme?: 'light' | 'dark' }

/** Opens the page as a person does. What the browser complains of is a failure. */
async function withPage(t: ExecutionContext, world: World, run: (page: Page) => Promise<void>): Promise<void> {
  const { nodes = FEW, width = 1_280, theme = 'light', ...source } = world
  const server = await serveMap(
    {
      seen: () => nodes,
      explain: async (from, to) => ({ explanations: [anExplanation(from, to)] }),
      policy: async pod => ({
        peers: [
          {
            pod: 'default/db',
            to: { action: 'deny', by: `egress of ${pod}` },
            from: { action: 'allow', by: 'nobody' },
          },
        ],
        more: 3,
      }),
      flows: async () => [FLOW],
      events: async () => [EVENT],
      ...source,
    },
    await pageAssets(),
    0,
    () => NOW,
  )
  const context = await browser.newContext({
    viewport: { width, height: 800 },
    colorScheme: theme,
    reducedMotion: 'reduce',
  })
  const complaints: string[] = []
  try {
    const page = await context.newPage()
    page.on('console', message => void (message.type() !== 'log' && complaints.push(message.text())))
    page.on('pageerror', error => void complaints.push(error.message))
    page.on('dialog', dialog => {
      complaints.push(`dialog ${dialog.message()}`)
      void dialog.dismiss()
    })
    page.on(
      'request',
      asked => void (!asked.url().startsWith(new URL('/', server.url).href) && complaints.push(asked.url())),
    )
    await page.goto(server.url)
    await page.getByText(/of \d+ nodes ready/).waitFor()
    await run(page)
    // drivers of a machine without a graphics card say that they are slow
    t.deepEqual(
      complaints.filter(each => !/GPU stall|GL Driver Message|WebGL-/.test(each)),
      [],
    )
  } finally {
    await context.close()
    await server.close()
  }
}

const shot = async (page: Page, name: string) => {
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/${name}.png` })
}

inBrowser('the page opens with the address once, keeps no token in it, and says in words what it draws', t =>
  withPage(t, {}, async page => {
    t.is(new URL(page.url()).hash, '')
    t.is(
      await page.locator('#summary').textContent(),
      '1 of 3 nodes ready, 3 pods, 1 not ready, 1 silent, 1 of 2 links with a fault',
    )
    t.true((await page.locator('#graph canvas').count()) > 0)
    await page.reload()
    await page.getByText(/of 3 nodes ready/).waitFor()
    await page.getByRole('tab', { name: 'Table' }).click()
    t.is(await page.getByRole('row').count(), 4)
    t.true(await page.getByRole('row', { name: /n3 silent .* nobody listens/ }).isVisible())
  }),
)

inBrowser('somebody who has no session is told what to do', async t => {
  const server = await serveMap({ ...SILENT }, await pageAssets(), 0, () => NOW)
  const context = await browser.newContext()
  t.teardown(() => server.close())
  const page = await context.newPage()
  await page.goto(new URL('/', server.url).href)
  await page.getByText('Open the address that margayctl ui printed').waitFor()
  await context.close()
  t.pass()
})

const SILENT: MapSource = {
  seen: () => [],
  explain: async () => ({ explanations: [] }),
  policy: async () => ({ peers: [], more: 0 }),
  flows: async () => [],
  events: async () => [],
}

inBrowser(
  'by keyboard alone a person finds a node, its faults and pods, and has a walk between two pods explained',
  t =>
    withPage(t, {}, async page => {
      await page.locator('#graph').focus()
      await page.keyboard.press('ArrowRight')
      await page.getByRole('heading', { name: /^n1 ready/ }).waitFor()
      await page.keyboard.press('Escape')
      await page.getByText('Choose a node.').waitFor()
      await page.getByRole('tab', { name: 'Map' }).focus()
      await page.keyboard.press('ArrowRight')
      await page.getByRole('button', { name: 'n2' }).press('Enter')
      await page.getByText('Remedy: ip link set eth0 up').waitFor()
      await page.getByRole('button', { name: 'default/db' }).press('Enter')
      await page.getByText('Choose the other end.').waitFor()
      await page.getByRole('button', { name: 'n1', exact: true }).press('Enter')
      await page.getByRole('button', { name: 'default/web' }).press('Enter')
      await page.getByText('It is stopped').waitFor()
      t.deepEqual(
        [await page.locator('#from').inputValue(), await page.locator('#to').inputValue()],
        ['default/db', 'default/web'],
      )
      t.deepEqual(await page.locator('ol.steps li').evaluateAll(all => all.map(each => each.className)), [
        'passes',
        'stopped',
        'unknown',
      ])
    }),
)

inBrowser('denied packets lead to the walk between their ends, and events are shown up to the time of the slider', t =>
  withPage(t, {}, async page => {
    await page.getByRole('tab', { name: 'Denied' }).click()
    await page.getByRole('cell', { name: 'NetworkPolicy default/shut rule 0 on n1' }).waitFor()
    await page.locator('#flows-box').getByRole('button', { name: 'default/web' }).click()
    await page.getByRole('tab', { name: 'Denied' }).click()
    await page.locator('#flows-box').getByRole('button', { name: 'default/db' }).click()
    await page.getByText('It is stopped').waitFor()
    await page.getByRole('tab', { name: 'Events' }).click()
    await page.getByText('1 events, newest first').waitFor()
    await page.getByRole('slider').fill('500')
    await page.getByText(/^As it was at 20\d\d-.*: 1 of 3 nodes ready/).waitFor()
    await page.getByRole('slider').fill('1000')
    await page.getByText(/^1 of 3 nodes ready/).waitFor()
    t.true(await page.getByText('Route 10.244.1.0/26').isVisible())
  }),
)

inBrowser('who may talk to a pod is told both ways, and leads to the walk', t =>
  withPage(t, {}, async page => {
    await page.getByRole('tab', { name: 'Policy' }).click()
    await page.locator('#policy-pod').fill('default/web')
    await page.getByRole('button', { name: 'Who may talk to whom' }).click()
    await page.getByText('default/web and 1 other pods, 3 more are left out').waitFor()
    t.true(await page.getByRole('cell', { name: 'deny egress of default/web' }).isVisible())
    await page.locator('#policy-box').getByRole('button', { name: 'default/db' }).click()
    await page.getByText('It is stopped').waitFor()
  }),
)

const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '"><script>alert(1)</script>',
  "javascript:alert(1)//'",
  '</td></tr><h1>owned</h1>',
  '‮gnp.exe',
]

inBrowser('no name that anybody can choose is ever more than text', async t => {
  for (const evil of HOSTILE) {
    const object = { kind: evil, name: evil, namespace: evil }
    const nodes: readonly SeenNode[] = [
      {
        node: evil,
        silent: evil,
        last: snapshot(evil, {
          ...{ address: evil, subnet: evil, pods: [{ namespace: evil, name: evil, addresses: [evil] }], podCount: 1 },
          wrong: [{ type: evil, status: 'False', reason: evil, message: evil, remedy: evil, object, page: evil }],
          blocks: [{ cidr: evil, pool: evil, used: 1, size: 64 }],
          sessions: {
            up: 0,
            down: [{ name: evil, address: evil, state: evil, reason: evil, detail: evil, remedy: evil }],
            downCount: 1,
          },
        }),
      },
    ]
    const world = {
      nodes,
      explain: async () => ({ explanations: [anExplanation(evil, evil, evil)] }),
      flows: async () => [
        {
          ...FLOW,
          policy: evil,
          because: evil,
          node: evil,
          source: { address: evil, kind: 'Pod' as const, namespace: evil, name: evil },
        },
      ],
      policy: async () => ({
        peers: [{ pod: evil, to: { action: 'deny' as const, by: evil }, from: { action: 'allow' as const, by: evil } }],
        more: 0,
      }),
      events: async () => [{ ...EVENT, node: evil, type: evil, reason: evil, message: evil, object }],
    }
    await withPage(t, world, async page => {
      const count = () => page.evaluate<number>("document.querySelectorAll('img, script, iframe, h1').length")
      const before = await count()
      await page.locator('#graph').focus()
      await page.keyboard.press('ArrowRight')
      await page.locator('#node-box h2').waitFor()
      await page.getByRole('tab', { name: 'Explain' }).click()
      await page.locator('#from').fill(evil)
      await page.locator('#to').fill(evil)
      await page.getByRole('button', { name: 'Explain', exact: true }).click()
      await page.getByText('It is stopped').waitFor()
      await page.getByRole('tab', { name: 'Policy' }).click()
      await page.locator('#policy-pod').fill(evil)
      await page.getByRole('button', { name: 'Who may talk to whom' }).click()
      await page.locator('#policy-box td').first().waitFor()
      await page.getByRole('tab', { name: 'Denied' }).click()
      await page.locator('#flows-box td').first().waitFor()
      await page.getByRole('tab', { name: 'Events' }).click()
      await page.locator('#events-box td').first().waitFor()
      await page.getByRole('tab', { name: 'Table' }).click()
      await page.locator('#table-box td').first().waitFor()
      t.is(await count(), before, evil)
      t.true((await page.locator('#table-box').textContent())?.includes(evil), evil)
    })
  }
})

for (const theme of ['light', 'dark'] as const)
  inBrowser(
    `in ${theme} the page fits from a phone's width up, and axe finds nothing that keeps anybody out`,
    async t => {
      for (const width of WIDTHS)
        await withPage(t, { width, theme }, async page => {
          await page.locator('#graph').focus()
          await page.keyboard.press('ArrowRight')
          await page.getByRole('heading', { name: /^n1 ready/ }).waitFor()
          await shot(page, `map-${theme}-${width}`)
          const wide = await page.evaluate<number>(
            'document.documentElement.scrollWidth - document.documentElement.clientWidth',
          )
          t.true(wide <= 0, `${width}: ${wide} px too wide`)
          await page.getByRole('button', { name: 'default/web' }).click()
          await page.getByRole('button', { name: 'Explain', exact: true }).waitFor()
          await page.locator('#to').fill('default/db')
          await page.getByRole('button', { name: 'Explain', exact: true }).click()
          await page.getByText('It is stopped').waitFor()
          await shot(page, `walk-${theme}-${width}`)
          await page.getByRole('tab', { name: 'Table' }).click()
          await page.getByRole('row').first().waitFor()
          await shot(page, `table-${theme}-${width}`)
          if (width !== WIDTHS[1]) return
          // axe puts its script into the page by the browser's own way past the policy
          const found = await axe(page)
          t.deepEqual(found, [])
        })
    },
  )

inBrowser('a thousand nodes are drawn, found by name, and looked through without a stop that anybody sees', t => {
  const names = Array.from({ length: 1_000 }, (_, i) => `n${String(i).padStart(4, '0')}`)
  const nodes = names.map(
    (node, i): SeenNode => ({
      node,
      last: snapshot(node, {
        ...{ subnet: `192.0.${i % 4}.0/24`, address: `192.0.${i % 4}.${i % 250}` },
        paths: Array.from({ length: 16 }, (_, k) => ({
          ...{ node: names[(i + k + 1) % names.length]!, encapsulation: 'vxlan' as const, sinceMs: NOW },
          state: i === 7 && k === 0 ? ('lost' as const) : ('passes' as const),
        })),
      }),
    }),
  )
  return withPage(t, { nodes }, async page => {
    t.is(
      await page.locator('#summary').textContent(),
      '1000 of 1000 nodes ready, 0 pods, 1 of 16000 links with a fault',
    )
    await shot(page, 'thousand')
    await page.locator('#find').fill('n0999')
    const box = (await page.locator('#graph').boundingBox())!
    const watching = page.evaluate<number[]>(`new Promise(resolve => {
      const frames = []
      let last = performance.now()
      const frame = now => {
        frames.push(now - last)
        last = now
        if (frames.length < 60) requestAnimationFrame(frame)
        else resolve(frames)
      }
      requestAnimationFrame(frame)
    })`)
    await page.mouse.move(box.x + 300, box.y + 300)
    await page.mouse.down()
    for (let i = 0; i < 30; i++) await page.mouse.move(box.x + 300 + i * 5, box.y + 300 + i * 3)
    await page.mouse.up()
    const frames = (await watching).toSorted((a, b) => a - b)
    t.log(
      `frames of a drag, drawn by the processor: median ${frames[30]!.toFixed(1)} ms, longest ${frames.at(-1)!.toFixed(1)} ms`,
    )
    t.true(frames[30]! < 500)
  })
})

/** What axe finds, as words. */
async function axe(page: Page): Promise<string[]> {
  const session = await page.context().newCDPSession(page)
  await session.send('Page.setBypassCSP', { enabled: true })
  await session.send('Runtime.evaluate', { expression: readFileSync(AXE, 'utf8') })
  return page.evaluate(async () => {
    const { axe: checker } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> }
    }
    const { violations } = await checker.run()
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
  })
}
