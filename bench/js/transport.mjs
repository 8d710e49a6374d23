// js-libp2p doing the work of bench/transport: `transport.mjs serve|drive tcp|ws`. The commands are described in
// bench/transport/work.py.
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import {
  createLibp2p, multiaddr, noise, READ_BUFFER, STREAMS, tcp, webSockets, yamux
} from '../../tests/interop/peer/node.mjs'

const [, , role, transport] = process.argv
const CALL_BYTES = 64
const emit = (message) => process.stdout.write(JSON.stringify(message) + '\n')

const create = async () => await createLibp2p({
  addresses: { listen: role === 'serve' ? ['/ip4/127.0.0.1/tcp/0' + (transport === 'ws' ? '/ws' : '')] : [] },
  transports: [transport === 'ws' ? webSockets() : tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionManager: { maxConnections: 10_000, inboundConnectionThreshold: 10_000, maxIncomingPendingConnections: 1000 },
  connectionGater: { denyDialMultiaddr: () => false },
  connectionMonitor: { enabled: false }
})

const percentile = (times, share) => times.sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(share * times.length))]

// Reading as one waits for it: so many bytes, or any.
class Reader {
  #chunks = []
  #size = 0
  #ended = false
  #wake = () => {}

  constructor (stream) {
    stream.maxReadBufferLength = READ_BUFFER
    const end = () => { this.#ended = true; this.#wake() }
    stream.addEventListener('message', (event) => {
      const bytes = event.data.subarray()
      this.#chunks.push(bytes)
      this.#size += bytes.length
      this.#wake()
    })
    stream.addEventListener('end', end)
    stream.addEventListener('remoteCloseWrite', end)
    stream.addEventListener('close', end)
  }

  async any () {
    while (this.#size === 0 && !this.#ended) await new Promise((resolve) => { this.#wake = resolve })
    const bytes = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks)
    this.#chunks = []
    this.#size = 0
    return bytes
  }

  async exactly (n) {
    while (this.#size < n && !this.#ended) await new Promise((resolve) => { this.#wake = resolve })
    const bytes = Buffer.concat(this.#chunks)
    this.#chunks = bytes.length > n ? [bytes.subarray(n)] : []
    this.#size = Math.max(0, bytes.length - n)
    return bytes.subarray(0, n)
  }
}

const write = async (stream, bytes) => { if (!stream.send(bytes)) await stream.onDrain() }

async function pour (stream, count, size) {
  const data = randomBytes(size)
  for (let start = 0; start < count; start += size) {
    await write(stream, count - start >= size ? data : data.subarray(0, count - start))
  }
}

const handlers = {
  '/bench/echo': async (stream) => {
    const reader = new Reader(stream)
    for (let data = await reader.any(); data.length > 0; data = await reader.any()) await write(stream, data)
    await stream.close()
  },
  '/bench/sink': async (stream) => {
    const reader = new Reader(stream)
    let wanted = Number((await reader.exactly(8)).readBigUInt64BE())
    while (wanted > 0) wanted -= (await reader.any()).length
    await write(stream, Buffer.from('.'))
    await stream.close()
  },
  '/bench/source': async (stream) => {
    const asked = await new Reader(stream).exactly(12)
    await pour(stream, Number(asked.readBigUInt64BE()), asked.readUInt32BE(8))
    await stream.close()
  }
}

const node = await create()

if (role === 'serve') {
  for (const [protocol, handler] of Object.entries(handlers)) {
    await node.handle(protocol, (stream) => { handler(stream).catch((error) => stream.abort(error)) }, STREAMS)
  }
  emit({ event: 'ready', address: String(node.getMultiaddrs()[0]) })
  for await (const _ of process.stdin) {}
  process.exit(0)
}

let connection
const crowd = []
const open = async (protocol) => {
  const stream = await connection.newStream(protocol, STREAMS)
  return [stream, new Reader(stream)]
}

const commands = {
  connect: async ({ address }) => { connection = await node.dial(multiaddr(address)) },
  trips: async ({ count, size }) => {
    const [stream, reader] = await open('/bench/echo')
    const data = Buffer.alloc(size, 'p')
    const times = []
    for (let number = 0; number < count + 100; number++) {
      const began = performance.now()
      await write(stream, data)
      await reader.exactly(size)
      if (number >= 100) times.push((performance.now() - began) * 1e3)
    }
    await stream.close()
    return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) }
  },
  calls: async ({ count, atOnce }) => {
    const data = Buffer.alloc(CALL_BYTES, 'q')
    const several = async (share) => {
      for (let number = 0; number < share; number++) {
        const [stream, reader] = await open('/bench/echo')
        await write(stream, data)
        await reader.exactly(CALL_BYTES)
        await stream.close()
      }
    }
    await several(20)
    const share = Math.floor(count / atOnce)
    const began = performance.now()
    await Promise.all(Array.from({ length: atOnce }, () => several(share)))
    return { rate: share * atOnce / ((performance.now() - began) / 1e3) }
  },
  up: async ({ total, write: size }) => {
    const [stream, reader] = await open('/bench/sink')
    const head = Buffer.alloc(8)
    head.writeBigUInt64BE(BigInt(total))
    await write(stream, head)
    const began = performance.now()
    await pour(stream, total, size)
    await reader.exactly(1)
    const seconds = (performance.now() - began) / 1e3
    await stream.close()
    return { rate: total / 1e6 / seconds }
  },
  down: async ({ total, write: size }) => {
    const [stream, reader] = await open('/bench/source')
    const head = Buffer.alloc(12)
    head.writeBigUInt64BE(BigInt(total))
    head.writeUInt32BE(size, 8)
    const began = performance.now()
    await write(stream, head)
    for (let left = total; left > 0;) left -= (await reader.any()).length
    const seconds = (performance.now() - began) / 1e3
    await stream.close()
    return { rate: total / 1e6 / seconds }
  },
  dial: async ({ address, count }) => {
    const times = []
    for (let number = 0; number < count + 3; number++) {
      await connection?.close()
      const began = performance.now()
      connection = await node.dial(multiaddr(address))
      if (number >= 3) times.push(performance.now() - began)
    }
    return { p50: percentile(times, 0.5) }
  },
  crowd: async ({ address, count }) => {
    for (let number = 0; number < count; number++) {
      const another = await create()
      crowd.push([another, await another.dial(multiaddr(address))])
    }
  }
}

emit({ event: 'ready' })
for await (const line of createInterface({ input: process.stdin })) {
  const { cmd, ...options } = JSON.parse(line)
  emit(await commands[cmd](options) ?? {})
}
process.exit(0)
