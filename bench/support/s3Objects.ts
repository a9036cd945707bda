/** Serves `small` (20,000 objects of 2 KB) and `many` (100,000 tiny ones) until standard input ends; prints its endpoint. */
import { gzipSync } from 'node:zlib'
import { startS3Server } from '../../src/demo/s3Server.ts'

const server = await startS3Server()
const small = server.bucket('small')
for (let i = 0; i < 20_000; i++) {
  const records = Array.from({ length: 14 }, (_, n) => ({
    time: 1_767_225_600 + i,
    id: `${i}-${n}`,
    ip: `10.0.${i & 255}.${n}`,
    message: `event ${i} ${n} ${(i * 2654435761) >>> 0}`,
  }))
  small.put(
    `logs/${String(i).padStart(6, '0')}.json`,
    Buffer.from(records.map((record) => JSON.stringify(record)).join('\n')).subarray(0, 2048),
  )
}
const many = server.bucket('many')
const tiny = gzipSync('{"time":1767225600,"message":"one of many"}\n')
for (let i = 0; i < 100_000; i++) many.put(`logs/${String(i).padStart(6, '0')}.json.gz`, tiny)
console.log(server.endpoint)
process.stdin.resume().on('end', () => server.close())
