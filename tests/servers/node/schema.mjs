// The resolvers of ../schema.graphql for both Node servers. One root object serves all three
// operation types; what a resolver gets is (arguments, context), the context made by the server:
// { request, initPayload, websocket }. It must not know which protocol it is served through.

import { EventEmitter, on } from "node:events";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { setImmediate as turn, setTimeout as delay } from "node:timers/promises";
import { buildSchema, GraphQLError } from "graphql";
import { flags, sockets } from "./serve.mjs";

const source = new URL("../schema.graphql", import.meta.url);
export const schema = buildSchema(readFileSync(source, "utf8"));

const state = {
  counter: 0,
  active: 0,
  stopped: 0,
  recorded: new Map(),
  refusals: 0,
  refused: new Map(),
};

if (flags.ledger !== undefined && existsSync(flags.ledger)) {
  for (const key of readFileSync(flags.ledger, "utf8").split("\n").slice(0, -1)) count(key);
}

function count(key) {
  state.recorded.set(key, recorded(key) + 1);
  return recorded(key);
}

function recorded(key) {
  return state.recorded.get(key) ?? 0;
}

function record(key) {
  // In the hands of the system before it is answered: not even SIGKILL loses it.
  if (flags.ledger !== undefined) appendFileSync(flags.ledger, `${key}\n`);
  return count(key);
}

function refuse(times) {
  state.refusals = times;
  state.refused.clear();
  return times;
}

/** Refuses the feed of this name, if it is to be. */
function check(name) {
  if (name == null) return;
  const times = state.refused.get(name) ?? 0;
  if (times >= state.refusals) return;
  state.refused.set(name, times + 1);
  // Another error than this makes graphql-ws close the connection.
  throw new GraphQLError("not ready");
}

const bus = new EventEmitter().setMaxListeners(0);
// A topic called "error" would otherwise be an EventEmitter's own.
const eventOf = (topic) => `topic ${topic}`;

/**
 * An async iterator over `generate(signal)` whose return() takes effect at once. That of a plain
 * generator waits for the await it is in, which for a quiet topic is never.
 */
function stoppable(generate) {
  const stop = new AbortController();
  const events = generate(stop.signal);
  const end = { value: undefined, done: true };
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      try {
        return await events.next();
      } catch (error) {
        if (stop.signal.aborted) return end;
        throw error;
      }
    },
    async return() {
      stop.abort();
      await events.return();
      return end;
    },
  };
}

// Every event takes a turn of the event loop: an endless source must not starve the sockets.
const pause = (ms, signal) =>
  ms > 0 ? delay(ms, undefined, { signal }) : turn(undefined, { signal });

async function* countdown(from, signal) {
  for (let number = from; number >= 0; number -= 1) {
    await pause(0, signal);
    yield { countdown: number };
  }
}

/** The events, counted while they run; and whether they came to their end. */
async function* counted(events) {
  let finished = false;
  state.active += 1;
  try {
    yield* events;
    finished = true;
  } finally {
    state.active -= 1;
    if (!finished) state.stopped += 1;
  }
}

async function* ticks({ count, intervalMs, size }, signal) {
  const pad = "x".repeat(size ?? 0);
  for (let seq = 0; count < 0 || seq < count; seq += 1) {
    await pause(seq > 0 ? intervalMs ?? 0 : 0, signal);
    yield { ticks: { seq, pad } };
  }
}

async function* feed({ since, intervalMs, after, until }, signal) {
  const start = since * 1000;
  let seq = after ?? Math.floor((Date.now() - start) / intervalMs);
  while (until == null || seq < until) {
    seq += 1;
    await pause(start + seq * intervalMs - Date.now(), signal);
    yield { feed: { seq, pad: "" } };
  }
}

async function* messages(topic, signal) {
  for await (const [message] of on(bus, eventOf(topic), { signal })) {
    yield { messages: message };
  }
}

function flakyValue(seq) {
  if (seq % 2 === 1) throw new Error(`flaky ${seq}`);
  return `v${seq}`;
}

async function* flaky(count, signal) {
  for (let seq = 0; seq < count; seq += 1) {
    await pause(0, signal);
    yield { flaky: { seq, value: () => flakyValue(seq) } };
  }
}

async function* explode() {
  yield { explode: 1 };
  throw new Error("exploded");
}

async function* poison({ count, end }, { request, websocket }, signal) {
  for (let number = 0; number < count; number += 1) {
    await pause(2, signal);
    yield { poison: number };
  }
  if (end === "raise") throw new Error("poison");
  if (end === "reset") request.socket.resetAndDestroy();
  else websocket.close(Number(end), "poison");
  await delay(2 ** 31 - 1, undefined, { signal, ref: false });
}

export const root = {
  hello: ({ name }) => `Hello, ${name ?? "world"}!`,
  echoInt: ({ value }) => value,
  echoString: ({ value }) => value,
  slow: ({ ms }) => delay(ms, "done"),
  fail: ({ message }) => {
    throw new Error(message);
  },
  nothing: () => null,
  large: ({ bytes }) => "x".repeat(bytes),
  header: ({ name }, { request }) => request.headers[name.toLowerCase()] ?? null,
  initPayload: (_, { initPayload }) => (initPayload == null ? null : JSON.stringify(initPayload)),
  active: () => state.active,
  stopped: () => state.stopped,
  sockets: () => sockets.size,
  counter: () => state.counter,
  recorded: ({ keys }) => keys.map(recorded),

  increment: ({ by }) => (state.counter += by ?? 1),
  publish: ({ topic, message }) => {
    bus.emit(eventOf(topic), message);
    return bus.listenerCount(eventOf(topic));
  },
  record: ({ key }) => record(key),
  refuse: ({ times }) => refuse(times),

  countdown: ({ from }) => stoppable((signal) => countdown(from, signal)),
  ticks: (options) => stoppable((signal) => counted(ticks(options, signal))),
  feed: (options) => {
    check(options.name);
    return stoppable((signal) => counted(feed(options, signal)));
  },
  messages: ({ topic }) => stoppable((signal) => messages(topic, signal)),
  flaky: ({ count }) => stoppable((signal) => flaky(count, signal)),
  explode: () => stoppable(explode),
  poison: (options, context) =>
    options.end === "undefined"
      ? undefined
      : stoppable((signal) => poison(options, context, signal)),
};
