// Helia nodes on a leash, as ../peer.mjs: one JSON object a line on stdin commands, answers and events on stdout.
// Content is made here from a seed, so that megabytes need not travel over stdin.
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'

import { withBitswap } from '@helia/bitswap'
import { dagCbor } from '@helia/dag-cbor'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { FsBlockstore } from 'blockstore-fs'
import { createHeliaLight } from 'helia'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CID } from 'multiformats/cid'

const emit = (message) => process.stdout.write(JSON.stringify(message) + '\n')

// blocks are in memory unless a directory is named for them
const stores = process.argv[2] ? { blockstore: new FsBlockstore(process.argv[2]) } : {}

// without the gateways and routers that createHelia adds: what is not here comes from peers
const helia = withBitswap(withLibp2pLight(createHeliaLight(stores), {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
  connectionMonitor: { enabled: false },
  services: { identify: identify() }
}))
await helia.start()
const { libp2p } = helia
const fs = unixfs(helia)
const cbor = dagCbor(helia)

const PIECE = 256 * 1024

/** `size` bytes that follow from `seed`: piece n is the SHA-256 of "seed:n", again and again. No two leaves are alike. */
function content (seed, size) {
  const count = Math.ceil(size / PIECE)
  const made = Array.from({ length: count }, (_, n) => Buffer.alloc(PIECE, createHash('sha256').update(`${seed}:${n}`).digest()))
  return Buffer.concat(made).subarray(0, size)
}

async function * pieces (bytes) {
  for (let at = 0; at < bytes.length; at += 1 << 20) yield bytes.subarray(at, at + (1 << 20))
}

async function drained (chunks) {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of chunks) {
    hash.update(chunk)
    size += chunk.byteLength
  }
  return { size, sha256: hash.digest('hex') }
}

function watch () {
  const began = performance.now()
  const used = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(used)
    return { seconds: (performance.now() - began) / 1000, cpuSeconds: (user + system) / 1e6 }
  }
}

const commands = {
  dial: async ({ address }) => {
    await libp2p.dial(multiaddr(address), { signal: AbortSignal.timeout(15_000) })
    return {}
  },
  // `usual`: in the layout of Kubo, and not in Helia's own of 1 MiB leaves and 1,024 of them a node
  addFile: async ({ seed, size, usual = false }) => {
    const layout = usual ? { chunker: fixedSize({ chunkSize: PIECE }), layout: balanced({ maxChildrenPerNode: 174 }) } : {}
    const bytes = content(seed, size)
    const took = watch()
    const cid = await fs.addByteStream(pieces(bytes), layout)
    return { cid: cid.toString(), ...took() }
  },
  // Reads a file, from the network if need be.
  readFile: async ({ cid, timeoutMs = 60_000 }) => {
    const took = watch()
    const read = await drained(fs.cat(CID.parse(cid), { signal: AbortSignal.timeout(timeoutMs) }))
    return { ...read, ...took() }
  },
  addObject: async ({ object }) => ({ cid: (await cbor.add(object)).toString() }),
  list: async ({ cid }) => {
    const entries = []
    for await (const { name, size } of fs.ls(CID.parse(cid), { signal: AbortSignal.timeout(30_000) })) entries.push({ name, size: Number(size) })
    return { entries }
  },
  readObject: async ({ cid, timeoutMs = 30_000 }) => ({ object: await cbor.get(CID.parse(cid), { signal: AbortSignal.timeout(timeoutMs) }) }),
  // Reads an object and writes it anew: whoever understands all of it makes the same block.
  reencode: async ({ cid }) => ({ cid: (await cbor.add(await cbor.get(CID.parse(cid), { signal: AbortSignal.timeout(30_000) }))).toString() })
}

async function run ({ id, cmd, ...options }) {
  try {
    if (!Object.hasOwn(commands, cmd)) throw new Error(`unknown command ${cmd}`)
    emit({ id, ok: true, result: await commands[cmd](options) ?? {} })
  } catch (error) {
    emit({ id, ok: false, error: `${error.name}: ${error.message}` })
  }
}

emit({ event: 'ready', peerId: libp2p.peerId.toString(), addrs: libp2p.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  if (request.cmd === 'stop') break
  run(request)
}
await helia.stop()
process.exit(0)
