// The official suite, all of it, against the server that the environment names.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

const baseUrl = process.env.THALWEG_BASE_URL
if (!baseUrl) throw new Error("THALWEG_BASE_URL names the server under test, for instance http://127.0.0.1:4437")

runConformanceTests({
  baseUrl,
  longPollTimeoutMs: Number(process.env.THALWEG_LONG_POLL_TIMEOUT_MS ?? "2000"),
  subscriptions: true,
})
