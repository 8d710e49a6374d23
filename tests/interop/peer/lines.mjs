// Streams as lines: writing with back-pressure, reading until the other side half-closes or resets.
import { READ_BUFFER } from './node.mjs'

export const encodeLine = (message) => Buffer.from(JSON.stringify(message) + '\n', 'utf8')

/** Send bytes and wait while the peer does not take more. */
export async function write (stream, bytes) {
  if (!stream.send(bytes)) await stream.onDrain()
}

/**
 * Hand each chunk to `take` as it arrives. Resolves when no more can come: `{ reset }` says whether the stream was cut
 * rather than half-closed. Events instead of `for await`, which stops at the half-close though bytes may still be
 * buffered.
 */
export function readChunks (stream, take) {
  stream.maxReadBufferLength = READ_BUFFER
  return new Promise((resolve) => {
    const finish = (reset, error) => resolve({ reset, error: error?.message ?? null })
    stream.addEventListener('message', (event) => take(event.data.subarray()))
    // a reset stream ends too, before it closes
    stream.addEventListener('end', () => finish(stream.status === 'reset' || stream.status === 'aborted'))
    stream.addEventListener('close', (event) => finish(event.error != null, event.error))
    if (stream.readableEnded) finish(false)
    else if (stream.status === 'reset' || stream.status === 'aborted') finish(true)
  })
}

/** Hand each complete line, without its end, to `take`; what is left at the end counts as a line too. */
export async function readLines (stream, take) {
  let rest = []
  const end = await readChunks(stream, (chunk) => {
    let start = 0
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, start)) {
      const line = Buffer.concat([...rest, chunk.subarray(start, at)]).toString('utf8')
      rest = []
      start = at + 1
      if (line.trim() !== '') take(line)
    }
    if (start < chunk.length) rest.push(Buffer.from(chunk.subarray(start)))
  })
  const last = Buffer.concat(rest).toString('utf8')
  if (last.trim() !== '') take(last)
  return end
}
