// An object as the storage keeps it: the JSON text, which answers are made of, and the metadata, which selectors and
// preconditions look at. The rest is parsed where a request needs it: whole objects beside their texts are three times
// the memory, and a list or a watch of 5,000 Nodes uses none of them.
import { emitJson, parseJson } from '../api/json.ts'
import type { AnyObject } from '../api/lifecycle.ts'

export class Stored {
  /** JSON, with `metadata.resourceVersion` equal to `version`. */
  readonly text: string
  readonly version: number
  readonly metadata: AnyObject['metadata']

  constructor(text: string, version: number, metadata: AnyObject['metadata']) {
    this.text = text
    this.version = version
    this.metadata = metadata
  }

  /** The object under a new version. */
  static of(object: AnyObject, version: number): Stored {
    const metadata = { ...object.metadata, resourceVersion: String(version) }
    return new Stored(emitJson({ ...object, metadata }), version, metadata)
  }

  /** What a dry run would have stored. */
  static unsaved(object: AnyObject): Stored {
    return new Stored(emitJson(object), 0, object.metadata)
  }

  /** From the text of an earlier run, whose version is `version`. */
  static parse(text: string, version: number): Stored {
    return new Stored(text, version, (parseJson(text) as AnyObject).metadata)
  }

  /** The whole object, parsed anew: another one at each call. */
  read(): AnyObject {
    return parseJson(this.text) as AnyObject
  }
}
