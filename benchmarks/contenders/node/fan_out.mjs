// Node's graphql-ws with ws: many live subscriptions on one socket, each with a callback.
// `events`: they take what comes. `idle`: what one costs in memory.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, mode, orderText] = process.argv.slice(2);
const order = JSON.parse(orderText);

class Socket extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { perMessageDeflate: false, maxPayload: 0 });
  }
}

// Its own default: each subscription that is not the last leaves the socket open.
const client = createClient({ url, webSocketImpl: Socket, retryAttempts: 0 });
const query = 'subscription { trades { seq } }';

function ask() {
  return new Promise((resolve, reject) => {
    const variables = { live: 0 };
    client.subscribe({ query, variables }, { next() {}, error: reject, complete: resolve });
  });
}

function settledRss() {
  global.gc();
  global.gc();
  return process.memoryUsage.rss();
}

const failed = (reason) => { throw new Error(String(reason)); };

if (mode === 'events') {
  let count = 0, began, used;
  await new Promise((resolve) => {
    const next = () => {
      if (++count === 1) {
        began = performance.now();
        used = process.cpuUsage();
      } else if (count === order.events) resolve();
    };
    for (let at = 0; at < order.live; at++) {
      client.subscribe({ query, variables: order }, { next, error: failed, complete() {} });
    }
  });
  const seconds = (performance.now() - began) / 1000;
  const spent = process.cpuUsage(used);
  console.log(JSON.stringify({
    events: count - 1, seconds, cpu: (spent.user + spent.system) / 1e6,
  }));
} else {
  // One that stays keeps the socket open.
  client.subscribe({ query, variables: {} }, { next() {}, error: failed, complete() {} });
  await ask();
  const before = settledRss();
  for (let at = 0; at < order.live; at++) {
    client.subscribe({ query, variables: {} }, { next() {}, error: failed, complete() {} });
  }
  await ask();
  console.log(JSON.stringify({ bytes: (settledRss() - before) / order.live }));
}
// Its own way out takes a time that grows with the square of the subscriptions.
process.exit(0);
