// Calls: a unary echo, and a stream of events of a given number and size, counted by the caller.
import { INVOKE } from '../../tests/interop/peer/invoke.mjs'
import { encodeLine, readLines, write } from '../../tests/interop/peer/lines.mjs'
import { STREAMS } from '../../tests/interop/peer/node.mjs'
import { uuid7 } from '../../tests/interop/peer/rooms.mjs'

const now = () => Number(process.hrtime.bigint())

async function answer (stream, requestId, capability, input) {
  const frame = (type, fields) => encodeLine({ type, version: 1, requestId, ...fields })
  let outputBytes = 0
  if (capability === 'echo') {
    outputBytes = input.length
    await write(stream, frame('invoke.event', { seq: 0, event: 'result', data: input }))
  } else {
    const { events, bytes } = JSON.parse(input)
    const data = 'x'.repeat(bytes)
    for (let seq = 0; seq < events; seq++) {
      outputBytes += bytes
      await write(stream, frame('invoke.event', { seq, event: 'token', data }))
    }
  }
  await write(stream, frame('invoke.done', { usage: { inputBytes: input.length, outputBytes } }))
  await stream.close()
}

export function invokeCommands (node, dial) {
  const call = async (peer, capability, input, outputMode) => {
    const requestId = uuid7()
    const begin = now()
    const result = { first: null, events: 0, bytes: 0, done: false }
    const stream = await dial(peer, INVOKE)
    const end = readLines(stream, (line) => {
      const frame = JSON.parse(line)
      if (frame.type === 'invoke.event') {
        result.first ??= now() - begin
        result.events += 1
        result.bytes += frame.data.length
      } else if (frame.type === 'invoke.done') result.done = true
      else throw new Error(line)
    })
    await write(stream, Buffer.concat([
      encodeLine({ type: 'invoke.open', version: 1, requestId, capability, inputFormat: 'text/plain', outputMode, maxDurationMs: 120000, maxInputBytes: 65536, maxOutputBytes: 1 << 30 }),
      encodeLine({ type: 'invoke.chunk', version: 1, requestId, seq: 0, isFinalInput: true, data: input })
    ]))
    await stream.close()
    await end
    if (!result.done) throw new Error('the call did not end well')
    return { ...result, ns: now() - begin }
  }
  return {
    invokeServe: async () => {
      await node.handle(INVOKE, async (stream) => {
        let open = null
        await readLines(stream, (line) => {
          const frame = JSON.parse(line)
          if (frame.type === 'invoke.open') open = frame
          else if (frame.isFinalInput) answer(stream, open.requestId, open.capability, frame.data).catch((error) => stream.abort(error))
        })
      }, STREAMS)
      return {}
    },
    invokeMany: async ({ peer, count, concurrency }) => {
      let left = count
      const firsts = []
      const begin = now()
      const worker = async () => {
        while (left-- > 0) firsts.push((await call(peer, 'echo', 'hello', 'unary')).first)
      }
      await Promise.all(Array.from({ length: concurrency }, worker))
      return { count: firsts.length, seconds: (now() - begin) / 1e9, firsts }
    },
    invokeStream: async ({ peer, events, bytes }) => await call(peer, 'stream', JSON.stringify({ events, bytes }), 'stream')
  }
}
