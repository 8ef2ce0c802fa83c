// The suite is published as a library that calls `describe` and `test`; vitest must therefore load it itself ("inline")
// instead of leaving it to Node's loader, or it finds no test.
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["*.test.js"],
    server: { deps: { inline: ["@durable-streams/server-conformance-tests"] } },
    // Some tests wait for the node's long-poll timeout more than once.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A retry would hide what this is here to find.
    retry: 0,
  },
})
