// JSONPath and Go templates print what kubectl prints. Where the folder K8S_BIN has a kubectl, each row is also given to
// it, so that the answers below are its own.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { parseGoTemplate } from '../../../ctl/output/go-template.ts'
import { parseJsonPath } from '../../../ctl/output/jsonpath.ts'
import { binary } from '../../../lab/kubernetes/binaries.ts'

const OBJECT = {
  apiVersion: 'projectcalico.org/v3',
  kind: 'IPPool',
  metadata: { name: 'p1', labels: { a: 'b', 'example.org/site': 'x<1>' }, annotations: { n: 'ünder' } },
  spec: {
    cidr: '10.244.0.0/16',
    big: 1000000,
    float: 0.25,
    large: 1234567.5,
    blockSize: 26,
    natOutgoing: true,
    disabled: false,
    empty: [],
    words: ['one', 'two', 'three'],
    numbers: [3, 1, 2],
    rules: [
      { action: 'Allow', port: 80, to: { net: '10.0.0.0/8' } },
      { action: 'Deny', port: 443 },
      { action: 'Allow', port: 8080, to: { net: '192.168.0.0/16' } },
    ],
  },
}

/** A template and what it prints; `undefined`: it is refused. */
type Row = readonly [template: string, output: string | undefined]

const JSON_PATHS: readonly Row[] = [
  ['{.metadata.name}', 'p1'],
  ['name: {.metadata.name}!', 'name: p1!'],
  ['{.spec.big} {.spec.float} {.spec.natOutgoing}', '1000000 0.25 true'],
  ['{.spec.nothing}', ''],
  ['{.spec.nothing.below}', ''],
  ['{.spec.words}', '["one","two","three"]'],
  ['{.spec.words[*]}', 'one two three'],
  ['{.spec.words[0]}', 'one'],
  ['{.spec.words[-1]}', 'three'],
  ['{.spec.words[1:]}', 'two three'],
  ['{.spec.words[:2]}', 'one two'],
  ['{.spec.words[-2:]}', 'two three'],
  ['{.spec.words[0:3:2]}', 'one three'],
  ['{.spec.words[::2]}', 'one three'],
  ['{.spec.words[0,2]}', 'one three'],
  ['{.spec.words[7]}', undefined],
  ['{.spec.words[2:1]}', undefined],
  ['{.spec.empty[*]}', ''],
  ['{.spec.empty[0]}', undefined],
  ['{.spec.cidr[0]}', undefined],
  ["{.metadata['name']}", 'p1'],
  ["{.metadata.labels['example\\.org/site']}", 'x<1>'],
  ["{.metadata.labels['example.org/site']}", ''],
  ['{.metadata.labels.example\\.org/site}', 'x<1>'],
  ["{.metadata['name','annotations']}", 'p1 {"n":"ünder"}'],
  ['{.metadata.labels}', '{"a":"b","example.org/site":"x\\u003c1\\u003e"}'],
  ['{.spec.rules[?(@.action=="Allow")].port}', '80 8080'],
  ["{.spec.rules[?(@.action!='Allow')].port}", '443'],
  ['{.spec.rules[?(@.port>=443)].action}', 'Deny Allow'],
  ['{.spec.rules[?(@.to)].to.net}', '10.0.0.0/8 192.168.0.0/16'],
  ['{.spec.rules[?(@.to.net=="192.168.0.0/16")].port}', '8080'],
  ['{.spec.rules[?(@.port==80)]}', '{"action":"Allow","port":80,"to":{"net":"10.0.0.0/8"}}'],
  ['{.spec.rules[?(@.port=="80")]}', undefined],
  ['{.spec.rules[*].to.net}', '10.0.0.0/8 192.168.0.0/16'],
  ['{..net}', '10.0.0.0/8 192.168.0.0/16'],
  ['{.spec..port}', '80 443 8080'],
  ['{range .spec.rules[*]}{.action}={.port}{"\\n"}{end}', 'Allow=80\nDeny=443\nAllow=8080\n'],
  ["{range .spec.rules[*]}{.port}{'\\t'}{end}done", '80\t443\t8080\tdone'],
  ['{range .spec.empty[*]}{.x}{end}none', 'none'],
  ['{range .spec.words[*]}[{@}]{end}', '[one][two][three]'],
  ['{range .spec.rules[*]}{range .to}{.net};{end}{.port} {end}', '10.0.0.0/8;80 443 192.168.0.0/16;8080 '],
  ['{$.metadata.name} {@.kind}', 'p1 IPPool'],
  ['{metadata.name}', undefined],
  ['{.metadata.name', undefined],
  ['{end}', undefined],
  ['{"a \\"b\\""}', 'a "b"'],
  ['{1} {true} {"x"}', '1 true x'],
  ['plain', 'plain'],
]

const GO_TEMPLATES: readonly Row[] = [
  ['{{.metadata.name}}', 'p1'],
  ['{{ .spec.big }} {{.spec.float}} {{.spec.large}} {{.spec.natOutgoing}}', '1000000 0.25 1.2345675e+06 true'],
  ['{{.spec.nothing}}', '<no value>'],
  ['{{.spec.nothing.below}}', '<no value>'],
  ['{{.spec.words}}', '[one two three]'],
  ['{{.metadata.labels}}', 'map[a:b example.org/site:x<1>]'],
  ['{{index .spec.words 1}}', 'two'],
  ['{{index .metadata.labels "example.org/site"}}', 'x<1>'],
  ['{{(index .spec.rules 0).to.net}}', '10.0.0.0/8'],
  ['{{index .spec.words 7}}', undefined],
  ['{{range .spec.rules}}{{.action}}:{{.port}} {{end}}', 'Allow:80 Deny:443 Allow:8080 '],
  ['{{range $i, $r := .spec.rules}}{{if $i}}, {{end}}{{$r.port}}{{end}}', '80, 443, 8080'],
  ['{{range $k, $v := .metadata.labels}}{{$k}}={{$v}};{{end}}', 'a=b;example.org/site=x<1>;'],
  ['{{range .spec.empty}}x{{else}}none{{end}}', 'none'],
  ['{{range .spec.nothing}}x{{end}}', ''],
  ['{{range .spec.words}}{{if eq . "two"}}{{continue}}{{end}}{{.}}{{end}}', 'onethree'],
  ['{{range .spec.words}}{{if eq . "two"}}{{break}}{{end}}{{.}}{{end}}', 'one'],
  ['{{range .spec.words}}{{$.kind}} {{end}}', 'IPPool IPPool IPPool '],
  ['{{range 3}}{{.}}{{end}}', '012'],
  ['{{if .spec.natOutgoing}}nat{{else}}no{{end}}', 'nat'],
  ['{{if .spec.disabled}}a{{else if eq .spec.blockSize 26}}b{{else}}c{{end}}', 'b'],
  ['{{if and .spec.natOutgoing (not .spec.disabled)}}on{{end}}', 'on'],
  ['{{if or .spec.disabled .spec.nothing}}on{{end}}off', 'off'],
  ['{{if eq .metadata.name "p0" "p1"}}one of them{{end}}', 'one of them'],
  ['{{if gt .spec.blockSize 25}}small{{end}}', 'small'],
  ['{{with .metadata.labels}}{{.a}}{{end}}', 'b'],
  ['{{with .spec.nothing}}x{{else}}y{{end}}', 'y'],
  ['{{with $x := .spec.cidr}}{{$x}}{{end}}', '10.244.0.0/16'],
  ['{{$n := 0}}{{range .spec.words}}{{$n = len .}}{{end}}{{$n}}', '5'],
  ['{{len .spec.words}} {{len .metadata.labels}} {{len .metadata.name}}', '3 2 2'],
  ['{{.metadata.name | printf "%s-%d" "x" | len}}', '16'],
  ['{{.metadata.name | printf "%-4s|%5d|%s" "ab" 7}}', 'ab  |    7|p1'],
  ['{{printf "%q %v %t %.2f %05d %+d" "a" 1 true 1.234 42 3}}', '"a" 1 true 1.23 00042 +3'],
  ['{{printf "%d %s" "a" 1}}', '%!d(string=a) %!s(int=1)'],
  ['{{printf "%d" .spec.blockSize}}', '26'],
  ['{{printf "%s"}} {{printf "x" 1}}', '%!s(MISSING) x%!(EXTRA int=1)'],
  ['{{print 1 2 "a" "b" 3}}|{{println "a" 1}}', '1 2ab3|a 1\n'],
  ['{{print 1000000.0 0.00001}}', '1e+06 1e-05'],
  ['{{"a\\tb"}}{{`raw\\n`}}', 'a\tbraw\\n'],
  ['a {{- /* nothing */ -}} b', 'ab'],
  ['a\n{{- "x" -}}\n b', 'axb'],
  ['{{/* one */}}{{- "y" }}', 'y'],
  ['{{slice .metadata.name 0 1}}', 'p'],
  ['{{exists . "metadata" "name"}} {{exists . "spec" "nothing"}}', 'true false'],
  ['{{base64decode "aGk="}}', 'hi'],
  ['{{nonsense}}', undefined],
  ['{{if}}x{{end}}', undefined],
  ['{{if .x}}', undefined],
  ['{{end}}', undefined],
  ['{{.metadata.name.first}}', undefined],
  ['{{eq 1 "a"}}', undefined],
]

const FORMS = [
  { form: 'jsonpath', rows: JSON_PATHS, render: (text: string) => parseJsonPath(text).render(OBJECT) },
  { form: 'go-template', rows: GO_TEMPLATES, render: (text: string) => parseGoTemplate(text).render(OBJECT) },
]

function outcome(act: () => string): string | undefined {
  try {
    return act()
  } catch (error) {
    if ((error as Error).name === 'TemplateError') return undefined
    throw error
  }
}

for (const { form, rows, render } of FORMS)
  test(`${form}: every row prints what it says, or is refused`, t => {
    for (const [template, output] of rows)
      t.is(
        outcome(() => render(template)),
        output,
        template,
      )
  })

test('printf says no to a width or a precision that cannot be printed, and prints every other', t => {
  const { render } = FORMS[1]!
  for (const [template, message] of [
    ['{{printf "%2000000000s" "a"}}', /error calling printf: the width 2000000000 is above 10000/],
    ['{{printf "%-10001d" 1}}', /width 10001 is above 10000/],
    ['{{printf "%.200f" 1.5}}', /precision 200 is above 100/],
    ['{{printf "%.101e" 1.5}} ', /precision 101 is above 100/],
    ['{{printf "%.101g" 1.5}} ', /precision 101 is above 100/],
  ] as const)
    t.throws(() => render(template), { name: 'TemplateError', message })
  t.is(render('{{printf "%.0g|%.100f" 1.5 0.5 | len}} {{printf "%10000s" "a" | len}}'), '104 10000')
  t.is(parseGoTemplate('{{urlquery .}}').render('\ud800'), '%EF%BF%BD')
})

for (const { form, rows } of FORMS)
  test.serial(`${form}: kubectl gives the same answer for every row`, async t => {
    t.timeout(120_000)
    if (!existsSync(binary('kubectl'))) {
      t.log('skipped: no kubectl in the folder K8S_BIN')
      return t.pass()
    }
    const dir = mkdtempSync(join(tmpdir(), 'margay-templates-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    const file = join(dir, 'object.json')
    writeFileSync(file, JSON.stringify(OBJECT))
    for (let i = 0; i < rows.length; i += AT_ONCE)
      await Promise.all(
        rows.slice(i, i + AT_ONCE).map(async ([template, output]) => {
          t.is(await kubectl(file, `${form}=${template}`), output, template)
        }),
      )
  })

/** How many kubectls run beside each other. */
const AT_ONCE = 4

/** What kubectl prints of an object without a server; undefined when it refuses. */
function kubectl(file: string, format: string): Promise<string | undefined> {
  const args = ['label', '--local', '-f', file, 'a=b', '--overwrite', '-o', format]
  return new Promise(resolve => {
    execFile(binary('kubectl'), args, { env: { HOME: '/nonexistent' } }, (error, out) =>
      resolve(error === null ? out : undefined),
    )
  })
}

test('define, template and block of Go templates are refused with what to write instead', t => {
  t.throws(() => parseGoTemplate('{{define "x"}}a{{end}}'), { message: /define.*is not supported: write its text/ })
})
