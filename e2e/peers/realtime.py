"""A client that uses centrifuge-python from PyPI as its author published it. It speaks with the test as realtime.js does: JSON lines
in, JSON lines out; the first line says how to connect, the later ones are commands."""

import asyncio
import json
import sys

from centrifuge import (
    Client,
    ClientEventHandler,
    ReplyError,
    StreamPosition,
    SubscriptionEventHandler,
    UnauthorizedError,
)


def tell(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def failure(error):
    return {"code": getattr(error, "code", 0), "message": getattr(error, "message", str(error))}


class Peer(ClientEventHandler):
    def __init__(self, url, protobuf, token, ask_for_tokens, data=None):
        self.protobuf = protobuf
        self.rooms = {}
        self.wanted = []
        self.client = Client(
            url,
            events=self,
            token=token,
            get_token=self.get_token if ask_for_tokens else None,
            use_protobuf=protobuf,
            data=None if data is None else self.pack(data),
            max_reconnect_delay=2.0,
            proxy=None,
        )

    def pack(self, value):
        return json.dumps(value, ensure_ascii=False).encode() if self.protobuf else value

    def unpack(self, value):
        if not self.protobuf:
            return value
        return json.loads(value.decode("utf-8")) if value else None

    def publication(self, pub):
        user, client = (pub.info.user, pub.info.client) if pub.info else (None, None)
        return {"offset": pub.offset or 0, "data": self.unpack(pub.data), "user": user, "client": client}

    async def get_token(self):
        given = asyncio.get_running_loop().create_future()
        self.wanted.append(given)
        tell({"event": "token_wanted"})
        token = await given
        if token is None:
            raise UnauthorizedError("no more tokens")
        return token

    async def on_connecting(self, ctx):
        tell({"event": "connecting", "code": ctx.code, "reason": ctx.reason})

    async def on_connected(self, ctx):
        tell({"event": "connected", "client": ctx.client, "data": self.unpack(ctx.data)})

    async def on_disconnected(self, ctx):
        tell({"event": "disconnected", "code": ctx.code, "reason": ctx.reason})

    async def on_error(self, ctx):
        tell({"event": "error", "code": ctx.code, "message": repr(ctx.error)})

    async def on_subscribed(self, ctx):
        tell({"event": "own_subscribed", "channel": ctx.channel})

    async def on_publication(self, ctx):
        tell({"event": "own_publication", "channel": ctx.channel, **self.publication(ctx.pub)})

    # Commands.

    async def connect(self):
        # The SDK's connect() returns when the first attempt is over; JavaScript's returns at once, and so does this.
        self.connecting = asyncio.create_task(self.client.connect())

    async def disconnect(self):
        await self.client.disconnect()

    async def subscribe(self, channel, join_leave=False):
        room = self.client.new_subscription(
            channel, events=Room(self, channel), recoverable=True, join_leave=join_leave
        )
        self.rooms[channel] = room
        await room.subscribe()

    async def subscribe_again(self, channel):
        await self.rooms[channel].subscribe()

    async def unsubscribe(self, channel):
        await self.rooms[channel].unsubscribe()

    async def publish(self, channel, data):
        await self.client.publish(channel, self.pack(data))

    async def rpc(self, method, data):
        return self.unpack((await self.client.rpc(method, self.pack(data))).data)

    async def history(self, channel, limit=0, since=None, reverse=False):
        since = since and StreamPosition(since["offset"], since["epoch"])
        result = await self.client.history(channel, limit=limit, since=since, reverse=reverse)
        publications = [self.publication(pub) for pub in result.publications]
        return {"publications": publications, "epoch": result.epoch, "offset": result.offset}

    async def presence(self, channel):
        return {client: info.user for client, info in (await self.client.presence(channel)).clients.items()}

    async def presence_stats(self, channel):
        result = await self.client.presence_stats(channel)
        return {"clients": result.num_clients, "users": result.num_users}

    async def give_token(self, token):
        self.wanted.pop(0).set_result(token)

    async def run(self, command):
        answer = command.pop("id")
        try:
            tell({"answer": answer, "ok": await getattr(self, command.pop("do"))(**command)})
        except Exception as error:  # whatever the SDK raises is for the test to judge
            tell({"answer": answer, "error": failure(error)})


class Room(SubscriptionEventHandler):
    def __init__(self, peer, channel):
        self.peer = peer
        self.channel = channel

    def tell(self, event, **more):
        tell({"event": event, "channel": self.channel, **more})

    async def on_subscribing(self, ctx):
        self.tell("subscribing", code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx):
        position = ctx.stream_position
        self.tell(
            "subscribed",
            was_recovering=ctx.was_recovering,
            recovered=ctx.recovered,
            position=position and {"offset": position.offset, "epoch": position.epoch},
            data=self.peer.unpack(ctx.data),
        )

    async def on_unsubscribed(self, ctx):
        self.tell("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx):
        error = ctx.error if isinstance(ctx.error, ReplyError) else None
        self.tell("room_error", code=error.code if error else ctx.code, message=repr(ctx.error))

    async def on_publication(self, ctx):
        self.tell("publication", **self.peer.publication(ctx.pub))

    async def on_join(self, ctx):
        self.tell("join", user=ctx.info.user, client=ctx.info.client)

    async def on_leave(self, ctx):
        self.tell("leave", user=ctx.info.user, client=ctx.info.client)


async def main():
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    peer = Peer(**json.loads(await reader.readline()))
    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(peer.run(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
