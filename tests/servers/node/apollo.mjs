// The reference server of the legacy protocol: Apollo's subscriptions-transport-ws.

import { execute, subscribe } from "graphql";
import { SubscriptionServer } from "subscriptions-transport-ws";
import { root, schema } from "./schema.mjs";
import { allowed, createServer, flags, serve } from "./serve.mjs";

// This server forgets a stop that comes in one go with its start: the operation would run on for as
// long as the connection. It is ended here, so that what does run on is the client's fault.
async function subscribeUnlessStopped({ contextValue: context, ...options }) {
  const events = await subscribe({ contextValue: context, ...options });
  if (context.stopped.has(context.id)) await events.return?.();
  return events;
}

function noteStops(socket) {
  const stopped = new Set();
  socket.on("message", (text) => {
    const { type, id } = JSON.parse(text);
    if (type === "stop") stopped.add(id);
  });
  return stopped;
}

const server = createServer();
const apollo = SubscriptionServer.create(
  {
    schema,
    rootValue: root,
    execute,
    subscribe: subscribeUnlessStopped,
    keepAlive: flags.keepAliveMs,
    onConnect: (initPayload, socket, { request }) => {
      if (!allowed(initPayload, request, socket)) throw new Error("Forbidden");
      return { request, initPayload, websocket: socket, stopped: noteStops(socket) };
    },
    onOperation: ({ id }, params) => ({ ...params, context: { ...params.context, id } }),
  },
  { server, path: "/graphql", perMessageDeflate: flags.deflate },
);
serve(server, () => {
  for (const socket of apollo.server.clients) socket.close(1001, "Going away");
  apollo.close();
});
