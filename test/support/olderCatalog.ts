/** What makes a catalog of today one of an earlier version again: what each version brought, taken away. */
const BROUGHT: readonly (readonly string[])[] = [
  [],
  [
    ...['destinations', 'feeds', 'outbox', 'receipts', 'dead_letters'].map((name) => `drop table ${name}`),
    `delete from counters where name = 'feed'`,
  ],
  ['alter table ledger drop column collection'],
  [
    ...['runs', 'run_tasks', 'tag_files', 'findings', 'finding_runs'].map((name) => `drop table ${name}`),
    `delete from counters where name = 'run'`,
  ],
  [
    ...['left_files', 'holds', 'workbenches', 'workbench_files', 'hunts'].map((name) => `drop table ${name}`),
    ...['tier', 'directory', 'label', 'deleted'].map((column) => `alter table files drop column ${column}`),
    'alter table findings drop column segment',
  ],
]

export const backToVersion = (version: number): string[] => [
  ...BROUGHT.slice(version).reverse().flat(),
  `update facts set value = '${version}' where name = 'schema_version'`,
]
