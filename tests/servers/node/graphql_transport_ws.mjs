// The reference server of graphql-transport-ws: the package graphql-ws on ws.

import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";
import { root, schema } from "./schema.mjs";
import { allowed, createServer, flags, serve } from "./serve.mjs";

const server = createServer();
const sockets = new WebSocketServer({
  server,
  path: "/graphql",
  perMessageDeflate: flags.deflate,
});
const cleanup = useServer(
  {
    schema,
    roots: { query: root, mutation: root, subscription: root },
    context: ({ connectionParams, extra }) => ({
      request: extra.request,
      initPayload: connectionParams,
      websocket: extra.socket,
    }),
    onConnect: ({ connectionParams, extra }) =>
      allowed(connectionParams, extra.request, extra.socket),
    connectionInitWaitTimeout: flags.initTimeoutMs,
  },
  sockets,
  flags.keepAliveMs,
);
serve(server, () => cleanup.dispose());
