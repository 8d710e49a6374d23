// Direct messages: one stream, one dm.message line. The published reader takes each chunk as one whole frame and does
// not answer.
import { encodeLine, readChunks, readLines, write } from './lines.mjs'
import { STREAMS } from './node.mjs'
import { uuid7 } from './rooms.mjs'

export const DM = '/nexus/dm/1.1.0'

export class DirectMessages {
  constructor (node, emit, dial) {
    this.node = node
    this.dial = dial
    node.handle(DM, async (stream, connection) => {
      const from = connection.remotePeer.toString()
      const { reset } = await readChunks(stream, (chunk) => {
        const text = Buffer.from(chunk).toString('utf8')
        let frame = null
        try {
          frame = JSON.parse(text)
        } catch {}
        emit({ event: 'dm', from, frame, text })
      })
      if (!reset) await stream.close().catch(() => {})
    }, STREAMS)
  }

  commands () {
    return {
      // Answers once the stream is done in both directions, with every line that came back (a published peer sends none).
      dm: async ({ peer, content, format = 'text/plain', messageId = uuid7(), fields = {}, omit = [] }) => {
        const stream = await this.dial(peer, DM)
        const frame = { type: 'dm.message', version: 1, requestId: uuid7(), messageId, contentFormat: format, content, ...fields }
        for (const name of omit) delete frame[name]
        const lines = []
        const end = readLines(stream, (line) => lines.push(line))
        await write(stream, encodeLine(frame))
        await stream.close()
        return { messageId, frame, lines, ...await end }
      }
    }
  }
}
