// The DHT. Records are JSON with a `seq`, of which the highest is the best, as in the Go peer.
import { CID } from 'multiformats/cid'
import { peerIdFromString } from '@libp2p/peer-id'

const SECONDS = 20

const seqOf = (value) => {
  const { seq } = JSON.parse(new TextDecoder().decode(value))
  if (typeof seq !== 'number') throw new Error('no seq')
  return seq
}

export const records = {
  validators: { nexus: async (key, value) => { seqOf(value) } },
  selectors: { nexus: (key, values) => values.reduce((best, value, at) => seqOf(value) > seqOf(values[best]) ? at : best, 0) }
}

export class Dht {
  constructor (node) {
    this.node = node
    this.dht = node.services.dht
  }

  commands () {
    const within = () => ({ signal: AbortSignal.timeout(SECONDS * 1000) })
    const bytes = (text) => new TextEncoder().encode(text)
    return {
      dhtPeers: async () => {
        const found = []
        for (const { id, addresses } of await this.node.peerStore.all()) {
          if (addresses.length > 0 && await this.dht.routingTable.find(id) != null) found.push(id.toString())
        }
        return { peers: found }
      },
      dhtPut: async ({ key, text }) => {
        const stored = []
        for await (const event of this.dht.put(bytes(key), bytes(text), within())) {
          if (event.name === 'PEER_RESPONSE' && event.messageName === 'PUT_VALUE') stored.push(event.from.toString())
        }
        return { stored }
      },
      dhtGet: async ({ key }) => {
        let best
        for await (const event of this.dht.get(bytes(key), within())) {
          if (event.name === 'VALUE' && (best == null || seqOf(event.value) > seqOf(best))) best = event.value
        }
        if (best == null) throw new Error('not found')
        return { text: new TextDecoder().decode(best) }
      },
      dhtProvide: async ({ cid }) => {
        for await (const event of this.dht.provide(CID.parse(cid), within())) void event
        return {}
      },
      dhtFindProviders: async ({ cid }) => {
        const found = new Set()
        for await (const event of this.dht.findProviders(CID.parse(cid), within())) {
          if (event.name === 'PROVIDER') for (const { id } of event.providers) found.add(id.toString())
        }
        return { providers: [...found] }
      },
      dhtFindPeer: async ({ peer }) => {
        for await (const event of this.dht.findPeer(peerIdFromString(peer), within())) {
          if (event.name === 'FINAL_PEER') return { addrs: event.peer.multiaddrs.map(String) }
        }
        throw new Error('not found')
      }
    }
  }
}
