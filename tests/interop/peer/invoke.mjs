// Invoke as the published peers do it: the caller writes open and the final chunk at once and waits for no accept; the
// provider sends no accept. Everything a peer sent is reported as it stood on the wire.
import { encodeLine, readLines, write } from './lines.mjs'
import { STREAMS } from './node.mjs'
import { uuid7 } from './rooms.mjs'

export const INVOKE = '/nexus/invoke/1.1.0'
export const HANDSHAKE = '/nexus/handshake/1.1.0'

const parse = (line) => { try { return JSON.parse(line) } catch { return null } }
const textOf = (data) => typeof data === 'string' ? data : JSON.stringify(data)

// What each kind of capability does with its input; `say` sends one event.
const HANDLERS = {
  upper: async (input, say) => { await say('result', textOf(input).toUpperCase()) },
  count: async (input, say) => {
    const { to } = typeof input === 'string' ? JSON.parse(input) : input
    for (let n = 1; n <= to; n++) await say('token', n)
  },
  flood: async (input, say) => {
    const { events, size } = typeof input === 'string' ? JSON.parse(input) : input
    const data = 'x'.repeat(size)
    for (let n = 0; n < events; n++) await say('partial', data)
  },
  fail: async () => { throw Object.assign(new Error('the handler failed'), { code: 'HANDLER_ERROR' }) },
  hang: async (input, say, cancelled) => { await say('progress', 'waiting'); await cancelled }
}

export class Invoke {
  constructor (node, emit, dial) {
    this.node = node
    this.emit = emit
    this.dial = dial
    this.served = new Map()
    this.calls = new Map()
    node.handle(INVOKE, async (stream, connection) => await this.provide(stream, connection), STREAMS)
  }

  async provide (stream, connection) {
    const peer = connection.remotePeer.toString()
    let open = null
    let cancel
    let paid
    const cancelled = new Promise((resolve) => { cancel = resolve })
    const payment = new Promise((resolve) => { paid = resolve })
    const input = []
    const running = { done: null }
    const start = (frame) => {
      open = frame
      running.done = this.answer(stream, frame, { cancelled, payment, input: this.whole(input) })
    }
    const end = await readLines(stream, (line) => {
      const frame = parse(line)
      this.emit({ event: 'invokeFrame', peer, line, frame })
      if (frame?.type === 'invoke.open' && open === null) start(frame)
      else if (frame?.type === 'invoke.chunk') input.push(frame)
      else if (frame?.type === 'invoke.cancel') cancel(frame.reason)
      else if (frame?.type === 'invoke.payment_proof') paid(frame.proof)
    })
    if (end.reset) cancel('reset')
    this.emit({ event: 'invokeEnd', peer, requestId: open?.requestId ?? null, ...end })
    await running.done
  }

  // The whole input, once the final chunk is there.
  async whole (chunks) {
    for (;;) {
      if (chunks.some((chunk) => chunk.isFinalInput)) break
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    return chunks.length === 1 ? chunks[0].data : chunks.map((chunk) => textOf(chunk.data)).join('')
  }

  async answer (stream, open, { cancelled, payment, input }) {
    const frame = (type, fields) => encodeLine({ type, version: 1, requestId: open.requestId, ...fields })
    const served = this.served.get(open.capability)
    try {
      if (served === undefined) {
        await write(stream, frame('invoke.error', { code: 'NOT_FOUND', message: `no capability ${open.capability}` }))
      } else {
        if (served.price) {
          await write(stream, frame('invoke.payment_required', {
            terms: { amount: served.price, currency: 'USDC', recipient: '0x' + '0'.repeat(40), description: 'a call', validUntil: Date.now() + 300_000 }
          }))
          if (await Promise.race([payment.then(() => 'paid'), cancelled.then(() => 'cancelled')]) !== 'paid') return
        }
        let seq = 0
        let stop = false
        cancelled.then(() => { stop = true })
        const say = async (event, data) => {
          if (stop) throw new Error('cancelled')
          await write(stream, frame('invoke.event', { seq: seq++, event, data }))
        }
        const given = await Promise.race([input, cancelled.then(() => null)])
        await HANDLERS[served.kind](given, say, cancelled)
        if (!stop) await write(stream, frame('invoke.done', { usage: { inputBytes: 0, outputBytes: 0 } }))
      }
    } catch (error) {
      if (stream.writeStatus === 'writable') {
        await write(stream, frame('invoke.error', { code: error.code ?? 'ERROR', message: error.message })).catch(() => {})
      }
    } finally {
      await stream.close().catch(() => {})
    }
  }

  async call ({ peer, capability, input, requestId = uuid7(), inputFormat = 'text/plain', outputMode = 'unary', maxDurationMs = 30000, maxInputBytes = 65536, maxOutputBytes = 1048576, metadata, halfClose = true, splitAt = [], omit = [], fields = {} }) {
    const stream = await this.dial(peer, INVOKE)
    const open = { type: 'invoke.open', version: 1, requestId, capability, inputFormat, outputMode, maxDurationMs, maxInputBytes, maxOutputBytes, metadata, ...fields }
    for (const name of omit) delete open[name]
    const chunk = { type: 'invoke.chunk', version: 1, requestId, seq: 0, isFinalInput: true, data: input }
    this.calls.set(requestId, stream)
    const lines = []
    const end = readLines(stream, (line) => {
      lines.push(line)
      this.emit({ event: 'invokeReply', requestId, line, frame: parse(line) })
    })
    const bytes = Buffer.concat([encodeLine(open), encodeLine(chunk)])
    let start = 0
    for (const at of [...splitAt, bytes.length]) {
      await write(stream, bytes.subarray(start, at))
      start = at
      if (at < bytes.length) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    if (halfClose) await stream.close()
    const how = await end
    if (!halfClose) await stream.close().catch(() => {})
    this.calls.delete(requestId)
    return { requestId, lines, ...how }
  }

  commands () {
    return {
      invoke: async (options) => await this.call(options),
      cancel: async ({ requestId, reason = 'enough', reset = false }) => {
        const stream = this.calls.get(requestId)
        if (reset) stream.abort(new Error(reason))
        else await write(stream, encodeLine({ type: 'invoke.cancel', version: 1, requestId, reason }))
        return {}
      },
      serve: ({ name, kind = name, price }) => { this.served.set(name, { kind, price }); return { name } },
      unserve: ({ name }) => ({ removed: this.served.delete(name) })
    }
  }
}
