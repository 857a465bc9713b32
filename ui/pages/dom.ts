// Elements of the page. Texts become text nodes, never HTML: names are chosen by whoever may make a pod.

type Child = Node | string | undefined | false
type Attributes = Readonly<Record<string, string | number | boolean | undefined>>

/** An element with attributes and children. A boolean attribute is there or not. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : String(value))
  element.append(...children.filter(child => child !== undefined && child !== false))
  return element
}

/** The element of index.html with this id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T
}

/** A button that does something. */
export function button(text: string, act: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const element = h('button', { type: 'button', ...attributes }, text)
  element.addEventListener('click', act)
  return element
}

/** Tabs as the ARIA pattern has them: arrow keys go from one to the next. */
export function tabs(list: Element): { select: (id: string) => void } {
  const all = [...list.querySelectorAll<HTMLButtonElement>('[role=tab]')]
  const select = (id: string) => {
    for (const tab of all) {
      const isIt = tab.id === id
      tab.setAttribute('aria-selected', String(isIt))
      tab.tabIndex = isIt ? 0 : -1
      byId(tab.getAttribute('aria-controls') ?? '').hidden = !isIt
    }
    list.dispatchEvent(new CustomEvent('tab', { detail: id }))
  }
  for (const [at, tab] of all.entries()) {
    tab.addEventListener('click', () => select(tab.id))
    tab.addEventListener('keydown', event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
      if (step === undefined) return
      const next = all[(at + step + all.length) % all.length]!
      select(next.id)
      next.focus()
    })
  }
  return { select }
}
