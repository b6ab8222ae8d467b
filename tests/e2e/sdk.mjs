// The official SDK as a user has it: `node sdk.mjs TEST`, told by the environment where and as whom.
// Throws, and so ends with 1, where something is not as the SDK's users expect it.
import assert from 'node:assert/strict'
import OpenAI, { toFile } from 'openai'

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

  // A call of a function, whole and put together from a stream.
  async tools() {
    const tools = [{
      type: 'function',
      function: {
        name: 'get_weather',
        description: 'Get current weather for a city',
        parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
      },
    }]
    const whole = await client().chat.completions.create(ask('calls tokens=6', { tools, tool_choice: 'auto' }))
    const [call] = whole.choices[0].message.tool_calls
    assert.equal(whole.choices[0].finish_reason, 'tool_calls')
    assert.equal(call.function.name, 'get_weather')
    const { city } = JSON.parse(call.function.arguments)
    assert.match(city, /^[a-z]{24}$/)

    const stream = await client().chat.completions.create(ask('calls tokens=6', { tools, stream: true }))
    let name = '', given = '', finish
    for await (const chunk of stream) {
      const [part] = chunk.choices[0].delta.tool_calls ?? []
      name += part?.function.name ?? ''
      given += part?.function.arguments ?? ''
      finish = chunk.choices[0].finish_reason ?? finish
    }
    assert.equal(name, 'get_weather')
    assert.equal(given, call.function.arguments)
    assert.equal(finish, 'tool_calls')
  },

  async json() {
    const body = ask('json tokens=9', { response_format: { type: 'json_object' } })
    const answer = await client().chat.completions.create(body)
    assert.match(JSON.parse(answer.choices[0].message.content).summary, /^[a-z]{36}$/)
  },

  // A data URL of megabytes; that all of it arrived is in the backend's log.
  async vision() {
    const url = `data:image/jpeg;base64,${'QUJD'.repeat(given.megabytes * 2 ** 18)}`
    const content = [{ type: 'text', text: 'What is in this image? [[sim tokens=5]]' },
      { type: 'image_url', image_url: { url } }]
    const body = { model: MODEL, messages: [{ role: 'user', content }] }
    const answer = await client().chat.completions.create(body)
    assert.equal(answer.usage.completion_tokens, 5)
    let chunks = 0
    for await (const chunk of await client().chat.completions.create({ ...body, stream: true })) {
      assert.equal(chunk.choices.length, 1)
      chunks++
    }
    assert.equal(chunks, 7)
  },

  async images() {
    const answer = await client().images.generate({
      model: MODEL, prompt: 'a retriever in a top hat [[sim bytes=200000]]', n: 2, size: '1024x1024',
    })
    assert.deepEqual(answer.data.map((image) => image.b64_json.length), [200000, 200000])
  },

  async speech() {
    const answer = await client().audio.speech.create({
      model: MODEL, voice: 'alloy', input: 'say it [[sim bytes=100000]]',
    })
    assert.equal(answer.headers.get('content-type'), 'audio/mpeg')
    assert.equal((await answer.arrayBuffer()).byteLength, 100000)
  },

  async transcription() {
    const file = await toFile(new Uint8Array(given.file_bytes).fill(7), 'recording.mp3', { type: 'audio/mpeg' })
    const answer = await client().audio.transcriptions.create({ model: MODEL, file, language: 'en' })
    assert.match(answer.text, /^word\d+( word\d+)*$/)
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

  // What has no answer, too late an answer or a broken one, arrives as a class of its own.
  async lost() {
    const nobody = client({ baseURL: given.url.replace(/:\d+\/v1$/, ':1/v1'), timeout: 3000 })
    assert.ok(await thrown(nobody.models.list()) instanceof OpenAI.APIConnectionError)
    const late = await thrown(client({ timeout: 300 }).chat.completions.create(ask('ttft=10s')))
    assert.ok(late instanceof OpenAI.APIConnectionTimeoutError, late)
    const aborts = new AbortController()
    setTimeout(() => aborts.abort(), 200)
    const aborted = await thrown(client().chat.completions.create(ask('ttft=10s'), { signal: aborts.signal }))
    assert.ok(aborted instanceof OpenAI.APIUserAbortError, aborted)

    // A stream that is cut throws; it never ends as if it were whole.
    const stream = await client().chat.completions.create(
      ask('tokens=50 reset_after=9', { model: 'fault', stream: true }))
    let chunks = 0
    const cut = await thrown((async () => {
      for await (const chunk of stream) chunks += chunk.choices.length
    })())
    assert.equal(chunks, 9)
    assert.ok(cut instanceof OpenAI.APIError, cut)
    assert.equal(cut.code, 'upstream_failed')
  },

  // An error that a repeat cannot help is not repeated, though its status says it may be; the backend's log
  // has the count.
  async repeats() {
    const openai = client({ maxRetries: 2 })
    for (const [words, status] of [['error=502', 502], ['reset', 502], ['hang', 504]]) {
      const error = await thrown(openai.chat.completions.create(ask(words, { model: given.alone })))
      assert.equal(error.status, status, words)
      assert.equal(error.headers.get('x-should-retry'), 'false', words)
    }
  },

  // A 503 is tried again, and not before retry-after-ms has passed.
  async pauses() {
    const began = Date.now()
    const error = await thrown(client({ maxRetries: 1 }).chat.completions.create(ask('', { model: 'dead' })))
    assert.ok(error instanceof OpenAI.InternalServerError)
    assert.equal(error.status, 503)
    const pause = Number(error.headers.get('retry-after-ms'))
    assert.ok(pause >= 1 && Date.now() - began >= pause, `tried again after ${Date.now() - began} ms, not ${pause}`)
  },

  // A 429 of the router is tried again by the SDK when it says; the second try passes.
  async retries() {
    const openai = client({ apiKey: given.refilled, maxRetries: 3 })
    const answer = await openai.chat.completions.create(ask('tokens=1'))
    assert.equal(answer.usage.completion_tokens, 1)
  },
}

await tests[process.argv[2]]()
