// Streams that carry bytes: what every foreign peer of these tests serves and can be told to do. go/streams.go is the
// same in Go, tests/harness/contents.py for ours.
import { createHash } from 'node:crypto'
import { readChunks, write } from './lines.mjs'
import { STREAMS } from './node.mjs'

const ECHO = '/interop/echo/1.0.0' // says what it hears, ends when the other ends
const SINK = '/interop/sink/1.0.0' // hears all, then says {"bytes","sha256"}
const HOLD = '/interop/hold/1.0.0' // as sink, but reads nothing until the command `release`
const SOURCE = '/interop/source/1.0.0' // hears a number, says so many bytes
const BREAK = '/interop/break/1.0.0' // hears a number, says so many bytes and resets

// Content repeats a block of a prime length, so that no piece of it is where another should be.
const BLOCK = Buffer.from(Uint8Array.from({ length: 65_521 }, (_, i) => i * 167 + (i >> 8) * 13))

async function writeContent (stream, count) {
  const sum = createHash('sha256')
  for (let left = count; left > 0; left -= BLOCK.length) {
    const piece = BLOCK.subarray(0, left)
    sum.update(piece)
    await write(stream, piece)
  }
  return { bytes: count, sha256: sum.digest('hex') }
}

/** Resolves with what was heard when the other side has ended; rejects if it broke off. */
async function readDigest (stream) {
  const sum = createHash('sha256')
  let bytes = 0
  const { reset, error } = await readChunks(stream, (chunk) => {
    bytes += chunk.byteLength
    sum.update(chunk)
  })
  if (reset) throw Object.assign(new Error(`cut short after ${bytes} bytes: ${error}`), { reset })
  return { bytes, sha256: sum.digest('hex') }
}

/** The whole of a short text. */
async function readText (stream) {
  const chunks = []
  const { reset, error } = await readChunks(stream, (chunk) => chunks.push(Buffer.from(chunk)))
  if (reset) throw Object.assign(new Error(`cut short: ${error}`), { reset })
  return Buffer.concat(chunks).toString('utf8')
}

async function echo (stream) {
  let sending = Promise.resolve()
  const { reset } = await readChunks(stream, (chunk) => {
    const bytes = Buffer.from(chunk)
    sending = sending.then(async () => await write(stream, bytes))
  })
  if (reset) throw Object.assign(new Error('reset'), { reset })
  await sending
}

async function sink (stream) {
  await write(stream, Buffer.from(JSON.stringify(await readDigest(stream)) + '\n'))
}

export class Streams {
  constructor (node, emit, dial) {
    this.node = node
    this.emit = emit
    this.dial = dial
    this.held = []
    this.serve(ECHO, echo)
    this.serve(SINK, sink)
    this.serve(HOLD, async (stream, connection) => {
      stream.pause()
      const released = new Promise((resolve) => this.held.push(resolve))
      emit({ event: 'holding', peer: connection.remotePeer.toString() })
      await released
      const heard = sink(stream)
      stream.resume()
      await heard
    })
    this.serve(SOURCE, async (stream) => { await writeContent(stream, Number(await readText(stream))) })
    this.serve(BREAK, async (stream) => {
      await writeContent(stream, Number(await readText(stream)))
      stream.abort(new Error('as told'))
    })
  }

  serve (protocol, handler) {
    this.node.handle(protocol, async (stream, connection) => {
      try {
        await handler(stream, connection)
        if (stream.status === 'open') await stream.close()
      } catch (error) {
        this.emit({ event: 'streamBroke', protocol, peer: connection.remotePeer.toString(), reset: error.reset === true, error: error.message })
        stream.abort(error)
      }
    }, { ...STREAMS, runOnLimitedConnection: true })
  }

  // Each stream has heard its echo before the first is ended.
  async many ({ peer, protocol, count }) {
    const streams = []
    const echoed = Array.from({ length: count }, async (_, number) => {
      const stream = await this.dial(peer, protocol)
      streams.push(stream)
      const word = String(number)
      let heard = ''
      const done = new Promise((resolve, reject) => {
        stream.ended = readChunks(stream, (chunk) => {
          heard += Buffer.from(chunk).toString()
          if (heard.length >= word.length) resolve()
        }).then(({ reset }) => {
          if (reset) throw new Error(`stream ${number} was reset`)
        })
        stream.ended.then(() => reject(new Error(`stream ${number} ended early`)), reject)
      })
      await write(stream, Buffer.from(word))
      await done
      if (heard !== word) throw new Error('another echo than was sent')
    })
    const outcomes = await Promise.allSettled(echoed)
    const failed = outcomes.filter(({ status }) => status === 'rejected')
    if (failed.length > 0) throw new Error(`${failed.length} streams failed, one of them: ${failed[0].reason.message}`)
    await Promise.all(streams.map(async (stream) => {
      await stream.close()
      await stream.ended
    }))
    return { count }
  }

  commands () {
    return {
      many: async (options) => await this.many(options),
      release: () => { for (const resume of this.held.splice(0)) resume() },
      // one more protocol, so that there is something to push
      handle: ({ protocol }) => { this.serve(protocol, echo); return {} },
      // sends content and tells what the other side answers when it has heard all
      upload: async ({ peer, protocol, bytes }) => {
        const stream = await this.dial(peer, protocol)
        const answer = readText(stream)
        answer.catch(() => {}) // it is awaited below
        const sent = await writeContent(stream, bytes)
        await stream.close()
        return { ...sent, answer: await answer }
      },
      fetch: async ({ peer, protocol, bytes }) => {
        const stream = await this.dial(peer, protocol)
        const heard = readDigest(stream)
        heard.catch(() => {})
        await write(stream, Buffer.from(String(bytes)))
        await stream.close()
        return await heard
      }
    }
  }
}
