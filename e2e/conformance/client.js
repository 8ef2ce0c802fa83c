// The official client at work: writes as an idempotent producer, tails live, and at the end reads everything again.
// What it does and finds goes to standard output, one JSON object per line; the caller restarts the server meanwhile.
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"

const [baseUrl, mode, countText] = process.argv.slice(2)
const count = Number(countText)
const url = `${baseUrl}/v1/stream/official-client/${mode}`
const say = (event) => process.stdout.write(JSON.stringify(event) + "\n")
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

// The producer leaves retries to its caller: the same request again, until somebody answers. That is what its numbers
// are for.
let retries = 0
const persistent = async (input, init) => {
  for (;;) {
    try {
      const response = await fetch(input, init)
      if (response.status < 500) return response
      await response.arrayBuffer()
    } catch (error) {
      if (init?.signal?.aborted) throw error
    }
    retries += 1
    await pause(20)
  }
}

const backoffOptions = { initialDelay: 20, maxDelay: 200, multiplier: 1.5, maxRetries: Infinity }
const handle = await DurableStream.create({ url, contentType: "application/json", backoffOptions })

// A connection that breaks in the middle of a live answer ends the session; the reader goes on where it was, from the
// offset that came with its last batch.
const tailed = []
let sessions = 0
const follow = async () => {
  let offset = "-1"
  while (tailed.length < count) {
    try {
      sessions += 1
      const live = await stream({ url, offset, live: mode, json: true, backoffOptions })
      live.subscribeJson((batch) => {
        for (const item of batch.items) tailed.push(item.n)
        offset = batch.offset
      })
      await live.closed
    } catch {
      await pause(20)
    }
  }
}
// The session object also rejects promises that nobody holds when its connection breaks.
process.on("unhandledRejection", () => {})
process.on("uncaughtException", (error) => {
  if (error?.message !== "terminated") throw error
})
follow()

const problems = []
const producer = new IdempotentProducer(handle, "official-client", {
  epoch: 0,
  maxBatchBytes: 512,
  lingerMs: 2,
  maxInFlight: 1,
  fetch: persistent,
  onError: (error) => problems.push(String(error)),
})
for (let n = 0; n < count; n += 1) {
  producer.append(JSON.stringify({ n }))
  if (n % 10 === 9) {
    await producer.flush()
    say({ written: n + 1 })
  }
}
await producer.flush()
while (tailed.length < count) await pause(10)
// Whatever came twice would come now.
await pause(200)

const again = await stream({ url, offset: "-1", live: false, json: true, backoffOptions })
const read = (await again.json()).map((item) => item.n)
const wanted = Array.from({ length: count }, (_, n) => n)
const same = (numbers) => JSON.stringify(numbers) === JSON.stringify(wanted)
say({ done: true, read: same(read), tailed: same(tailed), readCount: read.length, tailedCount: tailed.length, retries, sessions, problems })
process.exit(0)
