// What a node can be told to do, and what it tells of its own accord. `emit` takes an event.
import { Dht } from './dht.mjs'
import { DirectMessages } from './direct.mjs'
import { Invoke } from './invoke.mjs'
import { readChunks, write } from './lines.mjs'
import { multiaddr, peerIdFromString } from './node.mjs'
import { Rooms } from './rooms.mjs'
import { Streams } from './streams.mjs'

export function commandsOf (node, emit) {
  const target = (peer) => peer.startsWith('/') ? multiaddr(peer) : peerIdFromString(peer)
  const dial = async (peer, protocol) => await node.dialProtocol(target(peer), protocol, { signal: AbortSignal.timeout(15_000) })

  node.addEventListener('peer:connect', ({ detail }) => emit({ event: 'connected', peer: detail.toString() }))
  node.addEventListener('peer:disconnect', ({ detail }) => emit({ event: 'disconnected', peer: detail.toString() }))
  node.addEventListener('peer:discovery', ({ detail }) => emit({ event: 'discovered', peer: detail.id.toString(), addrs: detail.multiaddrs.map(String) }))
  node.addEventListener('peer:identify', ({ detail }) => emit({ event: 'identified', peer: detail.peerId.toString(), agentVersion: detail.agentVersion, protocols: detail.protocols }))

  // Send any bytes on a new stream and report what came back: what a bad peer does. `end`: close, reset, or leave open,
  // once `hear` bytes have come.
  async function stream ({ peer, protocol, base64 = [], hear = 0, end = 'close', timeoutMs = 10_000 }) {
    const opened = await dial(peer, protocol)
    const chunks = []
    let enough
    let missing = hear
    const heard = new Promise((resolve) => { enough = resolve })
    const finished = readChunks(opened, (chunk) => {
      chunks.push(Buffer.from(chunk))
      missing -= chunk.byteLength
      if (missing <= 0) enough()
    })
    let sendError = null
    try {
      for (const piece of base64) await write(opened, Buffer.from(piece, 'base64'))
      if (hear > 0) await Promise.race([heard, finished])
      if (end === 'close') await opened.close()
      if (end === 'reset') opened.abort(new Error('reset'))
    } catch (error) {
      sendError = error.message
    }
    const timer = new Promise((resolve) => setTimeout(resolve, timeoutMs, { reset: false, error: null, open: true }).unref())
    const how = await Promise.race([finished, timer])
    if (how.open) opened.abort(new Error('done'))
    return { text: Buffer.concat(chunks).toString('utf8'), sendError, open: false, ...how }
  }

  return {
    dial: async ({ address }) => {
      const connection = await node.dial(multiaddr(address), { signal: AbortSignal.timeout(15_000) })
      return { peer: connection.remotePeer.toString(), address: connection.remoteAddr.toString() }
    },
    hangup: async ({ peer }) => { await node.hangUp(target(peer)); return {} },
    // as a peer that is lost to view: no goodbye of the library's above the muxer
    cut: async ({ peer }) => { for (const c of node.getConnections(target(peer))) c.abort(new Error('as told')); return {} },
    connections: () => ({ connections: node.getConnections().map((c) => ({ peer: c.remotePeer.toString(), address: c.remoteAddr.toString(), direction: c.direction })) }),
    identify: async ({ peer }) => {
      const known = await node.peerStore.get(target(peer))
      const text = (name) => known.metadata.get(name) && Buffer.from(known.metadata.get(name)).toString('utf8')
      return { protocols: known.protocols, agentVersion: text('AgentVersion'), protocolVersion: text('ProtocolVersion'), addrs: known.addresses.map((a) => a.multiaddr.toString()) }
    },
    ping: async ({ peer }) => ({ ms: await node.services.ping.ping(target(peer), { signal: AbortSignal.timeout(10_000) }) }),
    closest: async ({ peer }) => {
      const found = new Set()
      for await (const event of node.services.dht.getClosestPeers(peerIdFromString(peer).toMultihash().bytes, { signal: AbortSignal.timeout(10_000) })) {
        if (event.name === 'PEER_RESPONSE') for (const { id } of event.closer) found.add(id.toString())
        if (event.name === 'FINAL_PEER') found.add(event.peer.id.toString())
      }
      return { peers: [...found] }
    },
    stream,
    ...new Rooms(node, emit).commands(),
    ...new Dht(node).commands(),
    ...new DirectMessages(node, emit, dial).commands(),
    ...new Invoke(node, emit, dial).commands(),
    ...new Streams(node, emit, dial).commands()
  }
}
