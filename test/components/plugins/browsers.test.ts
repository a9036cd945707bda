/** Traps of the original in what it reads from browsers and paths: each was wrong there, and is not here. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PluginComponent } from '../../../src/components/plugin.ts'
import { searchesOf } from '../../../src/components/plugins/browser_search.ts'
import { chromeExtension, extensionOf } from '../../../src/components/plugins/chrome_extension.ts'
import { networkLocation } from '../../../src/components/plugins/unique_domains_visited.ts'
import { ColdtrailError } from '../../../src/core/errors.ts'
import { withPlugin } from '../../support/pluginFixtures.ts'
import { runPlugin, whole } from '../../support/pluginRun.ts'

const ID = 'ghbmnnjooekpmoecnnnilnnbdlolhkhi'

test('the parameter of a term is taken by its whole name, wherever it stands', () => {
  const term = (url: string) => searchesOf(url).map(({ term }) => term)
  assert.deepEqual(term('https://www.google.com/search?oq=wrong&q=right'), ['right'])
  assert.deepEqual(term('https://www.google.com/search?oq=only'), [''])
  assert.deepEqual(term('https://www.bing.com/search?aq=1&q=&q=second'), ['second'])
  assert.deepEqual(term('https://www.youtube.com/results?search_query=a+b'), ['a b'])
  assert.deepEqual(term('https://www.youtube.com/watch?v=x'), [])
  assert.deepEqual(term('https://www.google.com/search?q=%F0%9F%99%82'), ['🙂'])
  assert.deepEqual(term('https://www.google.com/search?q=%ED%A0%80%'), ['\ufffd\ufffd\ufffd%'])
  assert.deepEqual(term(`https://www.google.com/search?q=${'x'.repeat(5_000)}`), ['x'.repeat(2_048)])
})

test('between an engine and its search stands no more than a name may have: an endless one is not searched to its end', () => {
  const url = (length: number) => `https://www.google.${'x'.repeat(length)}/search?q=y`
  assert.deepEqual(searchesOf(url(300)), [{ engine: 'Google Search', term: 'y' }])
  assert.deepEqual(searchesOf(url(301)), [])
})

test('a network location is that of Python', () => {
  for (const [url, expected] of [
    ['http://a.example/x', 'a.example'],
    ['//a.example', 'a.example'],
    ['a.example/x', ''],
    ['mailto:a@b.example', ''],
    ['http:///x', ''],
    ['1http://a.example/', ''],
    ['x-y+z.1://h?q', 'h'],
    ['http://h#//x', 'h'],
  ] as const)
    assert.equal(networkLocation(url), expected, url)
})

test('a home directory is compared by whole names: /home/al does not claim /home/alice', () => {
  const accounts = [
    { username: 'al', directory: '/home/al' },
    { username: 'alice', directory: '/home/alice' },
  ]
  const owner = (path: string): string | undefined => extensionOf(path, accounts)?.username
  assert.equal(owner(`/home/alice/.config/chromium/Extensions/${ID}`), 'alice')
  assert.equal(owner(`/home/al/.config/chromium/Extensions/${ID}`), 'al')
  assert.equal(owner(`/home/alfred/.config/chromium/Extensions/${ID}`), 'Not found (/home/alfred/.config/chro...)')
  for (const temp of ['Temp', 'temp', 'TEMP'])
    assert.equal(extensionOf(`/home/al/chrome/Extensions/${temp}`, accounts), undefined)
})

test('the web store that cannot be reached is said at once; without names nobody is asked', async () => {
  const component = chromeExtension as unknown as PluginComponent
  const store_url = 'http://127.0.0.1:1/detail/{id}'
  const dataTypes = ['fs:stat']
  await assert.rejects(
    withPlugin(component, { dataTypes, options: { store_url } }, async () => undefined),
    (error) =>
      error instanceof ColdtrailError && error.code === 'E_LOOKUP_SERVICE' && /names false/.test(error.message),
  )
  const event = { id: 1, data_type: 'fs:stat', data: { filename: `/x/chrome/Extensions/${ID}` } }
  const report = await withPlugin(
    component,
    { dataTypes, options: { store_url, names: false } },
    async (plugin, around) => (await runPlugin(plugin, whole([event]), around)).report,
  )
  assert.deepEqual(report.rows, [
    { extension: ID, extension_identifier: ID, username: 'Not found (/x/chrome/Extensions/ghbm...)' },
  ])
})
