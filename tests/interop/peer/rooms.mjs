// Rooms of the published network: NexusMessage JSON on GossipSub topics.
import { randomBytes } from 'node:crypto'

export const roomTopic = (room) => `/nexus/room/${room}`

/** RFC 9562 §5.7 */
export function uuid7 () {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(Date.now(), 0, 6)
  bytes[6] = 0x70 | (bytes[6] & 0x0f)
  bytes[8] = 0x80 | (bytes[8] & 0x3f)
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

export class Rooms {
  constructor (node, emit) {
    this.node = node
    this.emit = emit
    this.pubsub = node.services.pubsub
    this.pubsub.addEventListener('gossipsub:message', ({ detail }) => {
      const { msg, msgId, propagationSource } = detail
      emit({
        event: 'pubsub',
        topic: msg.topic,
        from: msg.from?.toString(),
        via: propagationSource.toString(),
        wireId: msgId,
        text: Buffer.from(msg.data).toString('utf8')
      })
    })
  }

  message (type, topic, payload, extra = {}) {
    return {
      version: 1,
      type,
      id: uuid7(),
      timestamp: Date.now(),
      sender: this.node.peerId.toString(),
      topic,
      payload,
      references: [],
      ...extra
    }
  }

  async send (topic, data) {
    const { recipients } = await this.pubsub.publish(topic, data)
    return { recipients: recipients.map(String) }
  }

  commands () {
    return {
      join: ({ room, topic = roomTopic(room) }) => { this.pubsub.subscribe(topic); return { topic } },
      leave: ({ room, topic = roomTopic(room) }) => { this.pubsub.unsubscribe(topic); return { topic } },
      subscribers: ({ room, topic = roomTopic(room) }) => ({
        subscribers: this.pubsub.getSubscribers(topic).map(String),
        mesh: this.pubsub.getMeshPeers(topic)
      }),
      publish: async ({ room, topic = roomTopic(room), content, format = 'text/plain', replyTo = null, threadId = null, fields = {} }) => {
        const message = this.message('chat', topic, { content, format, replyTo, threadId }, fields)
        return { message, ...await this.send(topic, Buffer.from(JSON.stringify(message))) }
      },
      presence: async ({ room, topic = roomTopic(room), status = 'online', capabilities = [], agentName = 'js', agentType = 'autonomous', agentVersion = '1' }) => {
        const message = this.message('presence', topic, { status, capabilities, agentName, agentType, version: agentVersion })
        return { message, ...await this.send(topic, Buffer.from(JSON.stringify(message))) }
      },
      typed: async ({ room, topic = roomTopic(room), type, payload, fields = {} }) => {
        const message = this.message(type, topic, payload, fields)
        return { message, ...await this.send(topic, Buffer.from(JSON.stringify(message))) }
      },
      // anything at all on a topic, as bytes in base64: what a bad peer sends
      publishRaw: async ({ room, topic = roomTopic(room), base64 }) => await this.send(topic, Buffer.from(base64, 'base64')),
      // {"id":"<prefix>-<n>","pad":…} for n below `count`, of at least `bytes` bytes each
      burst: async ({ room, topic = roomTopic(room), prefix, count, bytes = 0 }) => {
        const pad = 'x'.repeat(bytes)
        for (let n = 0; n < count; n++) await this.send(topic, Buffer.from(JSON.stringify({ id: `${prefix}-${n}`, pad })))
        return { count }
      },
      scores: () => {
        const { score } = this.pubsub
        const stats = score.dumpPeerScoreStats()
        return { scores: Object.fromEntries(Object.keys(stats).map((peer) => [peer, { score: score.score(peer), ...stats[peer] }])) }
      }
    }
  }
}
