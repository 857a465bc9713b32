// The thread that reads YAML: a text of a few hundred KiB can keep it busy for seconds. It gets a text and answers with
// JSON, or with what is wrong.
import { parentPort } from 'node:worker_threads'
import { parse } from 'yaml'
import { emitJson, smallIntegers } from '../api/json.ts'

export type YamlAnswer = { json: string } | { fault: string }

parentPort!.on('message', (text: string) => parentPort!.postMessage(answerTo(text)))

function answerTo(text: string): YamlAnswer {
  try {
    return { json: emitJson(smallIntegers(parse(text, { intAsBigInt: true, maxAliasCount: 100 }))) ?? 'null' }
  } catch (error) {
    return { fault: (error as Error).message }
  }
}
