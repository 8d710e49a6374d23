// Room messages: NexusMessage JSON, signed and checked by GossipSub; the receiver parses each and takes its time.
import { roomTopic, uuid7 } from '../../tests/interop/peer/rooms.mjs'

const now = () => Number(process.hrtime.bigint())
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

export function roomCommands (node) {
  const pubsub = node.services.pubsub
  const sinks = new Map()
  pubsub.addEventListener('gossipsub:message', ({ detail: { msg } }) => {
    const sink = sinks.get(msg.topic)
    if (sink === undefined) return
    const { payload } = JSON.parse(Buffer.from(msg.data).toString('utf8'))
    const at = now()
    sink.last = at
    sink.latencies.push(at - Number(payload.content.slice(0, payload.content.indexOf(' '))))
    if (sink.latencies.length >= sink.expect) sink.done()
  })
  const publish = async (topic, padding) => {
    const message = {
      version: 1,
      type: 'chat',
      id: uuid7(),
      timestamp: Date.now(),
      sender: node.peerId.toString(),
      topic,
      payload: { content: `${now()} ${padding}`, format: 'text/plain', replyTo: null, threadId: null },
      references: []
    }
    await pubsub.publish(topic, Buffer.from(JSON.stringify(message)))
  }
  return {
    join: async ({ room }) => {
      pubsub.subscribe(roomTopic(room))
      while (pubsub.getMeshPeers(roomTopic(room)).length === 0) await sleep(20)
      return {}
    },
    // Counts from now on; `roomReceived` waits until `expect` came and answers with their latencies in nanoseconds. Two
    // commands, so that the sender begins only when this one has been answered.
    roomListen: ({ room, expect }) => {
      const sink = { expect, latencies: [], last: null }
      sink.finished = new Promise((resolve) => { sink.done = resolve })
      sinks.set(roomTopic(room), sink)
      return {}
    },
    roomReceived: async ({ room, timeoutMs }) => {
      const sink = sinks.get(roomTopic(room))
      await Promise.race([sink.finished, sleep(timeoutMs)])
      sinks.delete(roomTopic(room))
      return { received: sink.latencies.length, last: sink.last, latencies: sink.latencies }
    },
    // `rate` a second, or as fast as it goes without one.
    roomSend: async ({ room, count, bytes, rate }) => {
      const padding = 'x'.repeat(bytes)
      const begin = now()
      for (let n = 0; n < count; n++) {
        if (rate) {
          const wait = begin + n * 1e9 / rate - now()
          if (wait > 0) await sleep(wait / 1e6)
        }
        await publish(roomTopic(room), padding)
      }
      return { begin, end: now() }
    }
  }
}
