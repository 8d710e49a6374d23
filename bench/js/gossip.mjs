// js-libp2p doing the work of bench/gossip. The commands are described in bench/gossip/work.py.
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  createLibp2p, gossipsub, identify, multiaddr, noise, STREAMS, tcp, yamux
} from '../../tests/interop/peer/node.mjs'

const TOPIC = 'bench'
const emit = (message) => process.stdout.write(JSON.stringify(message) + '\n')
const percentile = (times, share) => times.sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(share * times.length))]

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionManager: { maxConnections: 1000, inboundConnectionThreshold: 10_000, maxIncomingPendingConnections: 1000 },
  connectionGater: { denyDialMultiaddr: () => false },
  connectionMonitor: { enabled: false },
  services: {
    identify: identify(),
    pubsub: gossipsub({
      globalSignaturePolicy: 'StrictSign',
      allowPublishToZeroTopicPeers: true,
      scoreParams: { IPColocationFactorWeight: 0 },
      ...STREAMS
    })
  }
})
const pubsub = node.services.pubsub

let expected = 0
let latencies = []
let last = 0
let came = () => {}
pubsub.addEventListener('message', ({ detail }) => {
  const now = process.hrtime.bigint()
  latencies.push(Number(now - Buffer.from(detail.data).readBigUInt64BE()) / 1e6)
  last = Number(now) / 1e9
  came()
})

const commands = {
  connect: async ({ address }) => { await node.dial(multiaddr(address)) },
  join: async () => { pubsub.subscribe(TOPIC) },
  members: async ({ count }) => {
    while (pubsub.getSubscribers(TOPIC).length < count) await sleep(50)
    await sleep(2500)
  },
  expect: async ({ count }) => { expected = count; latencies = [] },
  publish: async ({ count, size, rate }) => {
    const first = Number(process.hrtime.bigint()) / 1e9
    const began = performance.now()
    for (let number = 0; number < count; number++) {
      const wait = rate > 0 ? began + number / rate * 1e3 - performance.now() : 0
      if (wait > 0) await sleep(wait)
      const data = Buffer.alloc(size)
      data.writeBigUInt64BE(process.hrtime.bigint())
      await pubsub.publish(TOPIC, data)
    }
    return { began: first }
  },
  report: async ({ patience }) => {
    while (latencies.length < expected) {
      const woken = await Promise.race([new Promise((resolve) => { came = () => resolve(true) }), sleep(patience * 1e3)])
      if (woken !== true) break
    }
    const none = latencies.length === 0
    return { count: latencies.length, last, p50: none ? 0 : percentile(latencies, 0.5), p99: none ? 0 : percentile(latencies, 0.99) }
  }
}

emit({ event: 'ready', address: String(node.getMultiaddrs()[0]) })
for await (const line of createInterface({ input: process.stdin })) {
  const { cmd, ...options } = JSON.parse(line)
  emit(await commands[cmd](options) ?? {})
}
process.exit(0)
