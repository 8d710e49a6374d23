// A js-libp2p peer that does the work being measured: the same commands as tests/interop/peer.mjs reads, one JSON object
// a line. Times that cross processes are CLOCK_MONOTONIC, which all processes of a host share.
import { createInterface } from 'node:readline'
import { createNode, multiaddr, peerIdFromString } from '../../tests/interop/peer/node.mjs'
import { directCommands } from './direct.mjs'
import { invokeCommands } from './invoke.mjs'
import { roomCommands } from './rooms.mjs'
import { rpcCommands } from './rpc.mjs'

const emit = (message) => process.stdout.write(JSON.stringify(message) + '\n')
const node = await createNode(JSON.parse(process.argv[2] ?? '{}'))
const dial = async (peer, protocol) => await node.dialProtocol(peerIdFromString(peer), protocol)

const commands = {
  dial: async ({ address }) => { await node.dial(multiaddr(address)); return {} },
  ...rpcCommands(node),
  ...roomCommands(node),
  ...directCommands(node, dial),
  ...invokeCommands(node, dial)
}

async function run ({ id, cmd, ...options }) {
  try {
    emit({ id, ok: true, result: await commands[cmd](options) ?? {} })
  } catch (error) {
    emit({ id, ok: false, error: error.stack })
  }
}

emit({ event: 'ready', peerId: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  if (request.cmd === 'stop') break
  run(request)
}
await node.stop()
process.exit(0)
