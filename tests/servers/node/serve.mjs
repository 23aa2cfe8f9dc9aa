// What both Node servers share: flags, the HTTP(S) listener, the ready line, the end. It must not
// know a GraphQL protocol.

import { readFileSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createServer as createHttps } from "node:https";
import { parseArgs } from "node:util";

const text = { type: "string" };
const { values } = parseArgs({
  options: {
    port: { ...text, default: "0" },
    cert: text,
    key: text,
    "client-ca": text,
    "keep-alive-ms": text,
    token: text,
    "tokens-expire": { type: "boolean", default: false },
    ledger: text,
    "init-timeout-ms": text,
    deflate: { type: "boolean", default: false },
    kind: text,
  },
});

const milliseconds = (value) => (value === undefined ? undefined : Number(value));

export const flags = {
  token: values.token,
  ledger: values.ledger,
  deflate: values.deflate,
  kind: values.kind,
  keepAliveMs: milliseconds(values["keep-alive-ms"]),
  initTimeoutMs: milliseconds(values["init-timeout-ms"]),
};

/** The TCP connections that there are. */
export const sockets = new Set();

/**
 * Whether the token was given: in the init payload, or as a header of the upgrade request. One that
 * expires is the time of its end, in seconds; then `socket`, a WebSocket, is closed with 4401.
 */
export function allowed(initPayload, request, socket) {
  if (values["tokens-expire"]) {
    const left = Number(initPayload?.token) * 1000 - Date.now();
    if (left > 0) setTimeout(() => socket.close(4401, "Token expired"), left).unref();
    return left > 0;
  }
  if (flags.token === undefined) return true;
  return (
    initPayload?.token === flags.token || request.headers.authorization === `Bearer ${flags.token}`
  );
}

/** The HTTP server, HTTPS when there is a certificate. It does not listen yet. */
export function createServer() {
  const notFound = (_, response) => response.writeHead(404).end();
  if (values.cert === undefined) return createHttp(notFound);
  const clientCa = values["client-ca"];
  return createHttps(
    {
      cert: readFileSync(values.cert),
      key: readFileSync(values.key),
      ca: clientCa && readFileSync(clientCa),
      requestCert: clientCa !== undefined,
      rejectUnauthorized: clientCa !== undefined,
    },
    notFound,
  );
}

/** Listens, says so, and calls `close` once: when stdin ends or on SIGTERM. */
export function serve(server, close) {
  const stop = async () => {
    // A client that does not answer the close frame must not keep the process.
    setTimeout(() => process.exit(0), 1000).unref();
    server.close();
    await close();
    process.exit(0);
  };
  process.once("SIGTERM", stop);
  process.stdin.once("end", stop).resume();
  // That of the secure one comes later than the one below it, and is another object.
  server.on(values.cert === undefined ? "connection" : "secureConnection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(Number(values.port), "127.0.0.1", () => {
    process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`);
  });
}
