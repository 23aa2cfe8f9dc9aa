// Node's graphql-ws with ws: a subscription into `for await` (iterate), or a callback (sink).
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, mode, orderText, ...words] = process.argv.slice(2);
const order = JSON.parse(orderText);
const perMessageDeflate = words.includes('deflate');

class Socket extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { perMessageDeflate, maxPayload: 0 });
  }
}

const client = createClient({ url, webSocketImpl: Socket });
const request = { query: 'subscription { trades { seq } }', variables: order };
let count = 0, began, used, last;

function take(result) {
  last = result;
  if (++count === 1) {
    began = performance.now();
    used = process.cpuUsage();
  }
}

if (mode === 'iterate') {
  for await (const result of client.iterate(request)) take(result);
} else {
  await new Promise((resolve, reject) => {
    client.subscribe(request, { next: take, error: reject, complete: resolve });
  });
}
const seconds = (performance.now() - began) / 1000;
const spent = process.cpuUsage(used);
if (count !== order.events || !last.data.trades.length) throw new Error(`${count} events`);
console.log(JSON.stringify({
  events: count - 1, seconds, cpu: (spent.user + spent.system) / 1e6,
}));
await client.dispose();
