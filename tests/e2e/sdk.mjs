// The official SDK as a user has it: `node sdk.mjs TEST`, told by the environment where and as whom.
// Throws, and so ends with 1, where something is not as the SDK's users expect it.
import assert from 'node:assert/strict'
import OpenAI from 'openai'

const given = JSON.parse(process.env.SLUICE_E2E)
const MODEL = given.model ?? 'sim'

function client(options = {}) {
  return new OpenAI({ apiKey: given.key, baseURL: given.url, maxRetries: 0, timeout: 20000, ...options })
}

function ask(words, more = {}) {
  return { model: MODEL, messages: [{ role: 'user', content: `hello [[sim ${words}]]` }], ...more }
}

async function thrown(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('no error was thrown')
}

const tests = {
  async chat() {
    const call = client().chat.completions.create(ask('tokens=20'))
    const { data, response, request_id } = await call.withResponse()
    assert.equal(response.status, 200)
    assert.equal(data.object, 'chat.completion')
    assert.equal(data.choices[0].message.content, given.text)
    assert.equal(data.choices[0].finish_reason, 'stop')
    assert.equal(data.usage.completion_tokens, 20)
    if (given.routed) {
      assert.match(request_id, /^[0-9a-f-]{32,36}$/)
      assert.equal(data._request_id, request_id)
      assert.equal(response.headers.get('x-ecolink-request-id'), request_id)
      assert.equal(response.headers.get('x-ecolink-region'), 'mv')
    }
  },

  async stream() {
    const stream = await client().chat.completions.create(ask('tokens=200', { stream: true }))
    let text = '', chunks = 0
    for await (const chunk of stream) {
      assert.equal(chunk.choices.length, 1, 'an event without choices: the usage event came through')
      assert.ok(!('usage' in chunk), 'usage was not asked for')
      text += chunk.choices[0].delta.content ?? ''
      chunks++
    }
    assert.equal(text, given.text)
    assert.equal(chunks, 202)
  },

  async stream_usage() {
    const options = { stream: true, stream_options: { include_usage: true } }
    let last
    for await (const chunk of await client().chat.completions.create(ask('tokens=7', options))) last = chunk
    assert.deepEqual(last.choices, [])
    assert.equal(last.usage.completion_tokens, 7)
  },

  async abort() {
    const stream = await client().chat.completions.create(ask('tokens=100000 tps=100', { stream: true }))
    let chunks = 0
    for await (const chunk of stream) {
      assert.ok(chunk.id)
      if (++chunks === 10) stream.controller.abort()
    }
    assert.equal(chunks, 10)
  },

  async embeddings() {
    const answer = await client().embeddings.create({ model: MODEL, input: ['one', 'two'] })
    assert.equal(answer.data.length, 2)
    assert.equal(answer.data[1].embedding.length, 8)
    assert.ok(answer.data.every((item) => item.embedding.every((x) => Math.abs(x) <= 1)))
  },

  async models() {
    const ids = []
    for await (const model of client().models.list()) ids.push(model.id)
    assert.ok(ids.includes(MODEL), ids.join(' '))
  },

  async calls() {
    const openai = client()
    const ids = new Set()
    let left = 200
    async function worker() {
      while (left-- > 0) {
        const answer = await openai.chat.completions.create(ask('tokens=30 ttft=20ms'))
        assert.equal(answer.usage.completion_tokens, 30)
        ids.add(answer._request_id ?? `${left}`)
      }
    }
    await Promise.all(Array.from({ length: 50 }, worker))
    assert.equal(ids.size, 200)
  },

  // Every documented error arrives as the class that its users catch.
  async errors() {
    const cases = [
      ['BadRequestError', 400, 'missing_field', client(), { model: MODEL }],
      ['BadRequestError', 400, 'invalid_value', client(), ask('', { temperature: 3 })],
      ['AuthenticationError', 401, 'invalid_api_key', client({ apiKey: 'eco_nobody' }), ask('')],
      ['AuthenticationError', 401, 'not_instance_owner', client({ apiKey: given.other }),
        ask('', { model: given.instance })],
      ['APIError', 402, 'insufficient_balance', client({ apiKey: given.poor }), ask('')],
      ['APIError', 402, 'model_not_priced', client(), ask('', { model: 'unpriced' })],
      ['NotFoundError', 404, 'model_not_found', client(), ask('', { model: 'no-such-model' })],
      ['NotFoundError', 404, 'model_not_found', client(), ask('', { model: 'my-llama:99999' })],
      ['RateLimitError', 429, 'rate_limit_exceeded', client({ apiKey: given.spent }), ask('')],
      ['InternalServerError', 503, 'no_healthy_region', client(), ask('', { model: 'dead' })],
      ['InternalServerError', 500, 'simulated', client(), ask('error=500', { model: 'fault' })],
      ['BadRequestError', 400, 'simulated', client(), ask('error=400', { model: 'fault' })],
      ['UnprocessableEntityError', 422, 'simulated', client(), ask('error=422', { model: 'fault' })],
    ]
    for (const [name, status, code, openai, body] of cases) {
      const error = await thrown(openai.chat.completions.create(body))
      const what = `${status} ${code}: ${name}? ${error.status} ${error.code} ${error.message}`
      assert.ok(error instanceof OpenAI[name], what)
      assert.equal(error.status, status, what)
      assert.equal(error.code, code, what)
      assert.match(error.headers.get('x-request-id') ?? '', /^[0-9a-f-]{32,36}$/, what)
      assert.equal(error.requestID, error.headers.get('x-request-id'), what)
      if (status === 429 || status === 503) {
        assert.ok(Number(error.headers.get('retry-after')) >= 0, what)
        assert.ok(Number(error.headers.get('retry-after-ms')) >= 0, what)
      }
      if (status === 402) assert.equal(error.headers.get('x-should-retry'), 'false', what)
    }
    const param = await thrown(client().chat.completions.create({ model: MODEL }))
    assert.equal(param.param, 'messages')
  },

  // A 429 of the router is tried again by the SDK when it says; the second try passes.
  async retries() {
    const openai = client({ apiKey: given.refilled, maxRetries: 3 })
    const answer = await openai.chat.completions.create(ask('tokens=1'))
    assert.equal(answer.usage.completion_tokens, 1)
  },
}

await tests[process.argv[2]]()
