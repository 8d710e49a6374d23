// A js-libp2p node with the published network's protocols and settings, on loopback.
import { bootstrap } from '@libp2p/bootstrap'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { gossipsub } from '@libp2p/gossipsub'
import { identify, identifyPush } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { mdns } from '@libp2p/mdns'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { plaintext } from '@libp2p/plaintext'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { createHash } from 'node:crypto'

import { records } from './dht.mjs'

// for programs in other folders, which do not see these packages
export { createLibp2p, gossipsub, identify, noise, tcp, webSockets, yamux }
export { peerIdFromString } from '@libp2p/peer-id'
export { multiaddr } from '@multiformats/multiaddr'

const SECURITY = { noise, tls, plaintext }

const MESHSUB = {
  1.1: ['/meshsub/1.1.0', '/meshsub/1.0.0'],
  1.2: ['/meshsub/1.2.0', '/meshsub/1.1.0', '/meshsub/1.0.0']
}

export const DHT = '/nexus/kad/1.1.0'

// Streams a protocol may have open at once. The library's default of 32 would measure the default, not the peer.
export const STREAMS = { maxInboundStreams: 4096, maxOutboundStreams: 4096 }

// A reader that pauses is reset by the library beyond this many buffered bytes (default 4 MiB).
export const READ_BUFFER = 64 * 1024 * 1024

const field = (number, bytes) => {
  const head = [(number << 3) | 2]
  let length = bytes.length
  while (length > 127) {
    head.push((length & 127) | 128)
    length >>>= 7
  }
  return Buffer.concat([Buffer.from([...head, length]), bytes])
}

const seqnoOf = (message) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(message.sequenceNumber ?? 0n)
  return bytes
}

// The published rule, for topics under /nexus/: the UTF-8 of the payload's `id` where that is 1 to 64 bytes, else SHA-256 of the message without
// its `key`. Elsewhere the library's own: author and sequence number.
export function messageId (message) {
  const from = message.from?.toMultihash().bytes ?? Buffer.alloc(0)
  if (!message.topic.startsWith('/nexus/')) return Buffer.concat([from, seqnoOf(message)])
  try {
    const { id } = JSON.parse(Buffer.from(message.data).toString('utf8'))
    const bytes = typeof id === 'string' ? Buffer.from(id, 'utf8') : Buffer.alloc(0)
    if (bytes.length > 0 && bytes.length <= 64) return bytes
  } catch {}
  return createHash('sha256').update(Buffer.concat([
    field(1, from),
    field(2, message.data),
    field(3, seqnoOf(message)),
    field(4, Buffer.from(message.topic)),
    field(5, message.signature ?? Buffer.alloc(0))
  ])).digest()
}

/** GossipSub with the given protocols: the library has no option that sets them. */
const meshsub = (protocols, settings) => (components) => {
  const made = gossipsub(settings)(components)
  made.protocols = protocols
  return made
}

/**
 * @param {{ seed?: string, listen?: boolean, websocket?: boolean, mdns?: boolean, bootstrap?: string[], security?: string,
 *   gossip?: string, relay?: boolean }} options
 *   `seed`: 32 bytes in hex, for a stable peer id; `security`: noise (default), tls or plaintext, that one alone;
 *   `relay`: be a relay (circuit v2); `gossip`: the newest version of GossipSub to speak, 1.1 or 1.2 (default)
 */
export async function createNode (options = {}) {
  const discovery = []
  if (options.mdns) discovery.push(mdns({ interval: 1000 }))
  if (options.bootstrap?.length) discovery.push(bootstrap({ list: options.bootstrap, timeout: 0 }))
  return await createLibp2p({
    privateKey: options.seed
      ? await generateKeyPairFromSeed('Ed25519', Buffer.from(options.seed, 'hex'))
      : undefined,
    nodeInfo: { userAgent: 'js-libp2p-interop/1' },
    addresses: {
      listen: options.listen === false ? [] : ['/ip4/127.0.0.1/tcp/0', ...(options.websocket === false ? [] : ['/ip4/127.0.0.1/tcp/0/ws'])]
    },
    transports: [tcp(), webSockets(), circuitRelayTransport()],
    connectionEncrypters: [SECURITY[options.security ?? 'noise']()],
    streamMuxers: [yamux({ ...STREAMS, maxEarlyStreams: 1024 })],
    peerDiscovery: discovery,
    connectionManager: {
      maxConnections: 1000,
      inboundConnectionThreshold: 10_000,
      maxIncomingPendingConnections: 1000
    },
    connectionGater: { denyDialMultiaddr: () => false },
    connectionMonitor: { enabled: false },
    services: {
      ...(options.relay ? { relay: circuitRelayServer({ reservations: { applyDefaultLimit: false } }) } : {}),
      identify: identify(),
      identifyPush: identifyPush(),
      ping: ping({ maxInboundStreams: 16, maxOutboundStreams: 16 }),
      pubsub: meshsub(MESHSUB[options.gossip ?? '1.2'], {
        globalSignaturePolicy: 'StrictSign',
        msgIdFn: messageId,
        allowPublishToZeroTopicPeers: true,
        scoreParams: { IPColocationFactorWeight: 0 },
        ...STREAMS
      }),
      dht: kadDHT({
        protocol: DHT,
        clientMode: false,
        allowQueryWithZeroPeers: true,
        ...records,
        peerInfoMapper: passthroughMapper
      })
    }
  })
}
