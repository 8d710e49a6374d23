// Direct messages with a commit at both ends: SQLite in WAL mode with synchronous=FULL, the acknowledgement after the
// receiver's commit.
import { DatabaseSync } from 'node:sqlite'
import { encodeLine, readLines, write } from '../../tests/interop/peer/lines.mjs'
import { STREAMS } from '../../tests/interop/peer/node.mjs'
import { uuid7 } from '../../tests/interop/peer/rooms.mjs'

const DM = '/nexus/dm/1.1.0'

export function directCommands (node, dial) {
  let insert = null
  let mark = null
  return {
    dmStore: ({ path }) => {
      const database = new DatabaseSync(path)
      database.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL')
      database.exec('CREATE TABLE message (position INTEGER PRIMARY KEY, peer TEXT, id TEXT, content TEXT, status TEXT, UNIQUE (peer, id)) STRICT')
      insert = database.prepare('INSERT OR IGNORE INTO message (peer, id, content, status) VALUES (?, ?, ?, ?)')
      mark = database.prepare('UPDATE message SET status = ? WHERE peer = ? AND id = ?')
      return {}
    },
    dmServe: async () => {
      await node.handle(DM, async (stream, connection) => {
        await readLines(stream, (line) => {
          const { requestId, messageId, content } = JSON.parse(line)
          insert.run(connection.remotePeer.toString(), messageId, content, 'received')
          stream.send(encodeLine({ type: 'dm.ack', version: 1, requestId, messageId }))
          stream.close().catch(() => {})
        })
      }, STREAMS)
      return {}
    },
    dmSend: async ({ peer, count, concurrency, bytes }) => {
      const content = 'x'.repeat(bytes)
      let left = count
      let stored = 0
      const begin = process.hrtime.bigint()
      const worker = async () => {
        while (left-- > 0) {
          const messageId = uuid7()
          insert.run(peer, messageId, content, 'sending')
          const stream = await dial(peer, DM)
          const end = readLines(stream, (line) => { if (JSON.parse(line).type === 'dm.ack') stored += 1 })
          await write(stream, encodeLine({ type: 'dm.message', version: 1, requestId: uuid7(), messageId, contentFormat: 'text/plain', content }))
          await stream.close()
          await end
          mark.run('stored', peer, messageId)
        }
      }
      await Promise.all(Array.from({ length: concurrency }, worker))
      return { stored, seconds: Number(process.hrtime.bigint() - begin) / 1e9 }
    }
  }
}
