// JSON-RPC round trips over a Unix socket: the status of the node, asked by a client in the other process.
import { connect, createServer } from 'node:net'

const lines = (socket, take) => {
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('data', (text) => {
    rest += text
    for (let at = rest.indexOf('\n'); at >= 0; at = rest.indexOf('\n')) {
      take(rest.slice(0, at))
      rest = rest.slice(at + 1)
    }
  })
}

export function rpcCommands (node) {
  const started = Date.now()
  const status = () => ({
    peerId: node.peerId.toString(),
    addresses: node.getMultiaddrs().map(String),
    peersConnected: node.getPeers().length,
    rooms: node.services.pubsub.getTopics(),
    startedAt: started,
    uptimeMs: Date.now() - started,
    pid: process.pid
  })
  return {
    rpcServe: ({ path }) => new Promise((resolve, reject) => {
      const server = createServer((socket) => lines(socket, (line) => {
        const { id } = JSON.parse(line)
        socket.write(JSON.stringify({ jsonrpc: '2.0', id, result: status() }) + '\n')
      }))
      server.on('error', reject)
      server.listen(path, () => resolve({}))
    }),
    rpcCall: ({ path, seconds }) => new Promise((resolve, reject) => {
      let count = 0
      const socket = connect(path)
      const begin = process.hrtime.bigint()
      const ask = () => socket.write(JSON.stringify({ jsonrpc: '2.0', id: count, method: 'node.status', params: {} }) + '\n')
      socket.on('error', reject)
      lines(socket, (line) => {
        if (JSON.parse(line).id !== count) reject(new Error('wrong answer'))
        count += 1
        const elapsed = Number(process.hrtime.bigint() - begin) / 1e9
        if (elapsed < seconds) return ask()
        socket.destroy()
        resolve({ count, seconds: elapsed })
      })
      ask()
    })
  }
}
