// js-libp2p peers on a leash: one JSON object a line on stdin commands them, answers and events come as JSON lines on
// stdout. {"id":1,"cmd":"join","room":"general"} -> {"id":1,"ok":true,"result":{…}}; events have no "id".
// The one argument is a JSON object of options for createNode. With "nodes":[{…},{…}] there are several nodes with those
// options over the common ones; "node":1 in a command means the second, and an event of it says so.
import { createInterface } from 'node:readline'
import { commandsOf } from './peer/commands.mjs'
import { createNode } from './peer/node.mjs'

const emit = (message) => process.stdout.write(JSON.stringify(message) + '\n')

const { nodes: each = [{}], ...common } = JSON.parse(process.argv[2] ?? '{}')
const nodes = await Promise.all(each.map(async (own) => await createNode({ ...common, ...own })))
const commands = nodes.map((node, number) => commandsOf(node, (event) => emit(number > 0 ? { ...event, node: number } : event)))

async function run ({ id, cmd, node = 0, ...options }) {
  try {
    if (!Object.hasOwn(commands[node], cmd)) throw new Error(`unknown command ${cmd}`)
    emit({ id, ok: true, result: await commands[node][cmd](options) ?? {} })
  } catch (error) {
    emit({ id, ok: false, error: `${error.name}: ${error.message}` })
  }
}

const said = nodes.map((node) => ({ peerId: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) }))
emit({ event: 'ready', ...said[0], nodes: said })
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  if (request.cmd === 'stop') break
  run(request)
}
await Promise.all(nodes.map(async (node) => await node.stop()))
process.exit(0)
