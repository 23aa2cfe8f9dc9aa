// Node's graphql-ws with ws: many clients in one process, without pings.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, , wantedText] = process.argv.slice(2);
const { count, idle } = JSON.parse(wantedText);
const atOnce = 100;

class Socket extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { perMessageDeflate: false });
  }
}

function openOne() {
  return new Promise((resolve, reject) => {
    const client = createClient({
      url, webSocketImpl: Socket, lazy: false, retryAttempts: 0, onNonLazyError: reject,
      on: { connected: () => resolve(client) },
    });
  });
}

function settledRss() {
  global.gc();
  global.gc();
  return process.memoryUsage.rss();
}

const spent = (since) => {
  const used = process.cpuUsage(since);
  return (used.user + used.system) / 1e6;
};

await openOne();
const before = settledRss();
const began = performance.now(), used = process.cpuUsage();
const clients = [];
let left = count;
await Promise.all(Array.from({ length: Math.min(atOnce, count) }, async () => {
  while (left-- > 0) clients.push(await openOne());
}));
const milliseconds = performance.now() - began, cpu = spent(used);
const grown = settledRss() - before;
let percent = null;
if (idle) {
  const waiting = performance.now(), idling = process.cpuUsage();
  await new Promise((resolve) => { setTimeout(resolve, idle * 1000); });
  percent = spent(idling) / ((performance.now() - waiting) / 1000) * 100;
}
console.log(JSON.stringify({
  connect_ms: milliseconds, cpu_us: cpu / count * 1e6,
  bytes: count >= atOnce ? grown / count : null, idle_percent: percent,
}));
process.exit(clients.length === count ? 0 : 1);
