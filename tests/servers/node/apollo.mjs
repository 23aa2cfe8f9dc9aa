// The reference server of the legacy protocol: Apollo's subscriptions-transport-ws.

import { execute, subscribe } from "graphql";
import { SubscriptionServer } from "subscriptions-transport-ws";
import { root, schema } from "./schema.mjs";
import { allowed, createServer, flags, serve } from "./serve.mjs";

const server = createServer();
const apollo = SubscriptionServer.create(
  {
    schema,
    rootValue: root,
    execute,
    subscribe,
    keepAlive: flags.keepAliveMs,
    onConnect: (initPayload, socket, { request }) => {
      if (!allowed(initPayload, request, socket)) throw new Error("Forbidden");
      return { request, initPayload };
    },
  },
  { server, path: "/graphql", perMessageDeflate: flags.deflate },
);
serve(server, () => {
  for (const socket of apollo.server.clients) socket.close(1001, "Going away");
  apollo.close();
});
