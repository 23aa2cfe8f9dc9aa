// Servers of frameworks, as their manuals set them up. `--kind` says which. With `--token` each of
// them asks for it in the payload of connection_init, and refuses in the way of its users: it throws.

import { createRequire } from "node:module";
import { ApolloServer as ApolloServer5 } from "@apollo/server";
import { ApolloServer as ApolloServer4 } from "@apollo/server-4";
import { execute, subscribe } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { useServer as useServer5 } from "graphql-ws-5/lib/use/ws";
import { SubscriptionServer } from "subscriptions-transport-ws";
import { WebSocketServer } from "ws";
import { root, schema } from "./schema.mjs";
import { createServer, flags, serve } from "./serve.mjs";

// As so many an onConnect does, it reads a field of the payload without a look whether there is one.
function onConnect(params) {
  if (flags.token !== undefined && params.token !== flags.token) throw new Error("Wrong token");
  return { token: params.token };
}

// Apollo Server does no WebSockets of its own; its manual adds graphql-ws like this.
async function apolloServer(ApolloServer, useServer, server) {
  const sockets = new WebSocketServer({ server, path: "/graphql" });
  const roots = { query: root, mutation: root, subscription: root };
  const cleanup = useServer(
    {
      schema,
      roots,
      context: ({ extra }) => ({ request: extra.request, websocket: extra.socket }),
      onConnect: ({ connectionParams }) => void onConnect(connectionParams ?? {}),
    },
    sockets,
  );
  const serverWillStart = async () => ({ drainServer: () => cleanup.dispose() });
  const apollo = new ApolloServer({ schema, plugins: [{ serverWillStart }] });
  await apollo.start();
  return () => apollo.stop();
}

async function nest(server) {
  await import("reflect-metadata");
  const { Module } = await import("@nestjs/common");
  const { NestFactory } = await import("@nestjs/core");
  const { GraphQLModule } = await import("@nestjs/graphql");
  const { ApolloDriver } = await import("@nestjs/apollo");
  class AppModule {}
  const graphql = GraphQLModule.forRoot({
    driver: ApolloDriver,
    typeDefs: "type Query { hello: String! } type Subscription { ticks: Int }",
    resolvers: { Query: { hello: () => "Hello, world!" } },
    subscriptions: {
      "graphql-ws": { onConnect: ({ connectionParams }) => void onConnect(connectionParams ?? {}) },
    },
  });
  Module({ imports: [graphql] })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: false });
  await app.init();
  server.removeAllListeners("request");
  return { close: () => app.close(), server: app.getHttpServer() };
}

// PostGraphile without its database: what answers the upgrade and connection_init, with a schema
// that it did not read from there.
async function postgraphile(server, websockets) {
  const require = createRequire(createRequire(import.meta.url).resolve("postgraphile"));
  const subscriptions = require("postgraphile/build/postgraphile/http/subscriptions.js");
  const { buildSchema } = require("graphql");
  const own = buildSchema("type Query { hello: String! }");
  own.getQueryType().getFields().hello.resolve = () => "Hello, world!";
  await subscriptions.enhanceHttpServerWithWebSockets(server, {
    options: { websockets, websocketOperations: "all" },
    getGraphQLSchema: async () => own,
    withPostGraphileContextFromReqRes: (_request, _response, _options, use) => use({}),
    handleErrors: (errors) => errors,
  });
  return () => {};
}

function subscriptionsTransport(server) {
  const rootValue = root;
  const context = { request: { headers: {} } };
  const onOperation = (_, params) => ({ ...params, context });
  const options = { schema, rootValue, execute, subscribe, onConnect, onOperation };
  const apollo = SubscriptionServer.create(options, { server, path: "/graphql" });
  return () => apollo.close();
}

const server = createServer();
const kinds = {
  "apollo-server-4": () => apolloServer(ApolloServer4, useServer5, server),
  "apollo-server-5": () => apolloServer(ApolloServer5, useServer, server),
  "postgraphile-v0": () => postgraphile(server, ["v0"]),
  "postgraphile-v1": () => postgraphile(server, ["v1"]),
  "subscriptions-transport-ws": () => subscriptionsTransport(server),
};
if (flags.kind === "nestjs") {
  const app = await nest(server);
  serve(app.server, app.close);
} else {
  serve(server, await kinds[flags.kind]());
}
