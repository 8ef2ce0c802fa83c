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

const tailed = []
const end = new AbortController()
const live = await stream({ url, offset: "-1", live: mode, json: true, signal: end.signal, backoffOptions })
const all = new Promise((resolve) => {
  live.subscribeJson((batch) => {
    for (const item of batch.items) tailed.push(item.n)
    if (tailed.length >= count) resolve()
  })
})

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
await all
// Whatever came twice would come now.
await pause(200)
end.abort()

const again = await stream({ url, offset: "-1", live: false, json: true, backoffOptions })
const read = (await again.json()).map((item) => item.n)
const wanted = Array.from({ length: count }, (_, n) => n)
const same = (numbers) => JSON.stringify(numbers) === JSON.stringify(wanted)
say({ done: true, read: same(read), tailed: same(tailed), readCount: read.length, tailedCount: tailed.length, retries, problems })
process.exit(0)
