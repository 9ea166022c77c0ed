// A client that uses the centrifuge SDK from npm as its author published it: node realtime.js NODE_FOLDER.
//
// Reads JSON lines and prints JSON lines. The first line says how to connect: {url, protobuf, token, ask_for_tokens, data}. Each
// later one is a command, {id, do, ...}, and is answered with {answer: id, ok} or {answer: id, error: {code, message}}. What the SDK
// tells in between is printed as {event, ...}. Payloads are JSON in here; the Protobuf build gets and gives them as bytes.
const [folder] = process.argv.slice(2);
const from = require('node:module').createRequire(folder + '/');
const eachLine = require('./lines.js');
const WebSocket = from('ws');

const tell = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const failure = (error) => ({ code: error.code ?? 0, message: error.message ?? String(error) });

let socket; // the newest, for commands that reach below the SDK
class Tapped extends WebSocket {
  constructor(...args) {
    super(...args);
    socket = this;
  }
}

let client;
let pack;
let unpack;
const rooms = new Map();
const wanted = []; // getToken calls that wait for a token

function open({ url, protobuf, token, ask_for_tokens, data }) {
  const { Centrifuge, UnauthorizedError } = from(protobuf ? 'centrifuge/build/protobuf' : 'centrifuge');
  pack = (value) => (protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
  unpack = (value) => {
    if (!protobuf || value === undefined || value === null) return value ?? null;
    return value.length === 0 ? null : JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(value));
  };
  const getToken = () => new Promise((resolve, reject) => {
    wanted.push((given) => (given === null ? reject(new UnauthorizedError('no more tokens')) : resolve(given)));
    tell({ event: 'token_wanted' });
  });
  client = new Centrifuge(url, {
    websocket: Tapped,
    token,
    getToken: ask_for_tokens ? getToken : null,
    data: data === undefined ? null : pack(data),
    maxReconnectDelay: 2000,
  });
  client.on('connecting', ({ code, reason }) => tell({ event: 'connecting', code, reason }));
  client.on('connected', ({ client, data }) => tell({ event: 'connected', client, data: unpack(data) }));
  client.on('disconnected', ({ code, reason }) => tell({ event: 'disconnected', code, reason }));
  client.on('error', ({ type, error }) => tell({ event: 'error', type, ...failure(error) }));
  client.on('subscribed', ({ channel }) => tell({ event: 'own_subscribed', channel }));
  client.on('publication', (context) => tell({ event: 'own_publication', channel: context.channel, ...publication(context) }));
}

const publication = ({ offset, data, info }) => (
  { offset: offset ?? 0, data: unpack(data), user: info?.user ?? null, client: info?.client ?? null }
);

function enter({ channel, join_leave }) {
  const room = client.newSubscription(channel, { recoverable: true, joinLeave: join_leave ?? false });
  rooms.set(channel, room);
  room.on('subscribing', ({ code, reason }) => tell({ event: 'subscribing', channel, code, reason }));
  room.on('subscribed', (context) => tell({
    event: 'subscribed',
    channel,
    was_recovering: context.wasRecovering,
    recovered: context.recovered,
    position: context.streamPosition ?? null,
    data: unpack(context.data),
  }));
  room.on('unsubscribed', ({ code, reason }) => tell({ event: 'unsubscribed', channel, code, reason }));
  room.on('error', ({ type, error }) => tell({ event: 'room_error', channel, type, ...failure(error) }));
  room.on('publication', (context) => tell({ event: 'publication', channel, ...publication(context) }));
  room.on('join', ({ info }) => tell({ event: 'join', channel, user: info.user, client: info.client }));
  room.on('leave', ({ info }) => tell({ event: 'leave', channel, user: info.user, client: info.client }));
  room.subscribe();
}

const commands = {
  connect: () => client.connect(),
  disconnect: () => client.disconnect(),
  subscribe: enter,
  subscribe_again: ({ channel }) => rooms.get(channel).subscribe(),
  unsubscribe: ({ channel }) => rooms.get(channel).unsubscribe(),
  publish: ({ channel, data }) => client.publish(channel, pack(data)),
  rpc: async ({ method, data }) => unpack((await client.rpc(method, pack(data))).data),
  history: async ({ channel, limit, since, reverse }) => {
    const { publications, epoch, offset } = await client.history(channel, { limit, since, reverse });
    return { publications: publications.map(publication), epoch, offset };
  },
  presence: async ({ channel }) => {
    const { clients } = await client.presence(channel);
    return Object.fromEntries(Object.entries(clients).map(([id, { user }]) => [id, user]));
  },
  presence_stats: async ({ channel }) => {
    const { numClients, numUsers } = await client.presenceStats(channel);
    return { clients: numClients, users: numUsers };
  },
  give_token: ({ token }) => wanted.shift()(token),
  // Stops reading from the network, as a process that is stuck does; what the SDK has been given is not touched.
  pause: () => socket._socket.pause(),
  resume: () => socket._socket.resume(),
};

eachLine(process.stdin, async (text) => {
  const command = JSON.parse(text);
  if (client === undefined) return open(command);
  try {
    tell({ answer: command.id, ok: (await commands[command.do](command)) ?? null });
  } catch (error) {
    tell({ answer: command.id, error: failure(error) });
  }
});
process.stdin.on('end', () => process.exit(0));
