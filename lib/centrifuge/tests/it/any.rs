//! Arbitrary messages.

use bytes::Bytes;
use proptest::{collection, option, prelude::*};
use roomhook_centrifuge::*;

/// Minified JSON text.
pub(crate) fn payload() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    let tree = leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            collection::vec((any::<String>(), inner), 0..4).prop_map(|entries| {
                let entries: Vec<_> = entries
                    .into_iter()
                    .map(|(key, value)| format!("{}:{value}", serde_json::to_string(&key).unwrap()))
                    .collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    });
    prop_oneof![1 => Just(Bytes::new()), 4 => tree.prop_map(Bytes::from)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[ -~]{1,12}", any::<String>()]
}

fn client_info() -> impl Strategy<Value = ClientInfo> {
    (text(), text(), payload(), payload()).prop_map(|(user, client, conn_info, chan_info)| ClientInfo {
        user,
        client,
        conn_info,
        chan_info,
    })
}

pub(crate) fn publication() -> impl Strategy<Value = Publication> {
    let plain = (
        payload(),
        option::of(client_info()),
        any::<u64>(),
        collection::btree_map(text(), text(), 0..3),
        any::<i64>(),
        text(),
    );
    let keyed = (text(), any::<bool>(), any::<i64>(), text(), payload(), any::<u64>(), any::<bool>());
    (plain, keyed).prop_map(|(plain, keyed)| {
        let (data, info, offset, tags, time, channel) = plain;
        let (key, removed, score, epoch, prev_data, version, delta) = keyed;
        Publication { data, info, offset, tags, delta, time, channel, key, removed, score, epoch, prev_data, version }
    })
}

fn filter() -> impl Strategy<Value = FilterNode> {
    let leaf = (text(), text(), text(), text(), collection::vec(text(), 0..3))
        .prop_map(|(op, key, cmp, val, vals)| FilterNode { op, key, cmp, val, vals, nodes: Vec::new() });
    leaf.prop_recursive(3, 8, 2, |inner| {
        (text(), collection::vec(inner, 0..3)).prop_map(|(op, nodes)| FilterNode { op, nodes, ..FilterNode::default() })
    })
}

fn subscribe_request() -> impl Strategy<Value = SubscribeRequest> {
    let position = (text(), text(), any::<bool>(), text(), any::<u64>(), payload());
    let wishes = (any::<bool>(), any::<bool>(), any::<bool>(), text(), option::of(filter()), any::<i64>());
    let keyed = (any::<i32>(), any::<i32>(), text(), any::<i32>(), any::<bool>());
    (position, wishes, keyed).prop_map(|(position, wishes, keyed)| {
        let (channel, token, recover, epoch, offset, data) = position;
        let (positioned, recoverable, join_leave, delta, tf, flag) = wishes;
        let (kind, phase, cursor, limit, asc) = keyed;
        SubscribeRequest {
            channel,
            token,
            recover,
            epoch,
            offset,
            data,
            positioned,
            recoverable,
            join_leave,
            delta,
            tf: tf.map(Box::new),
            flag,
            kind,
            phase,
            cursor,
            limit,
            asc,
        }
    })
}

pub(crate) fn subscribe_result() -> impl Strategy<Value = SubscribeResult> {
    let head = (any::<bool>(), any::<u32>(), any::<bool>(), text(), any::<bool>(), any::<u64>());
    let tail = (any::<bool>(), payload(), any::<bool>(), any::<bool>(), any::<i64>());
    let keyed = (any::<i32>(), any::<i32>(), text(), collection::vec(publication(), 0..2), any::<u32>());
    (head, tail, keyed, collection::vec(publication(), 0..3)).prop_map(|(head, tail, keyed, publications)| {
        let (expires, ttl, recoverable, epoch, recovered, offset) = head;
        let (positioned, data, was_recovering, delta, id) = tail;
        let (kind, phase, cursor, state, publish_debounce) = keyed;
        SubscribeResult {
            expires,
            ttl,
            recoverable,
            epoch,
            publications,
            recovered,
            offset,
            positioned,
            data,
            was_recovering,
            delta,
            id,
            kind,
            phase,
            cursor,
            state,
            publish_debounce,
        }
    })
}

fn connect_request() -> impl Strategy<Value = ConnectRequest> {
    let who = (text(), payload(), collection::btree_map(text(), subscribe_request(), 0..2), text(), text());
    let extras = (collection::btree_map(text(), text(), 0..2), any::<i64>(), text(), text());
    (who, extras).prop_map(|((token, data, subs, name, version), (headers, flag, dict, profile))| ConnectRequest {
        token,
        data,
        subs,
        name,
        version,
        headers,
        flag,
        dict,
        profile,
    })
}

/// By channel, as a JSON object keeps them.
fn server_subscriptions() -> impl Strategy<Value = Vec<ServerSubscription>> {
    collection::btree_map(text(), subscribe_result(), 0..2)
        .prop_map(|subs| subs.into_iter().map(|(channel, result)| ServerSubscription { channel, result }).collect())
}

fn connect_result() -> impl Strategy<Value = ConnectResult> {
    let who = (text(), text(), any::<bool>(), any::<u32>(), payload());
    let more = (server_subscriptions(), any::<u32>(), any::<bool>());
    let node = (text(), text(), any::<i64>(), any::<i64>());
    (who, more, node).prop_map(
        |((client, version, expires, ttl, data), (subs, ping, pong), (session, node, time, flag))| ConnectResult {
            client,
            version,
            expires,
            ttl,
            data,
            subs,
            ping,
            pong,
            session,
            node,
            time,
            flag,
        },
    )
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let position = (any::<u64>(), text()).prop_map(|(offset, epoch)| StreamPosition { offset, epoch });
    prop_oneof![
        connect_request().prop_map(Request::Connect),
        subscribe_request().prop_map(Request::Subscribe),
        text().prop_map(|channel| Request::Unsubscribe(UnsubscribeRequest { channel })),
        (text(), payload(), any::<i32>(), text(), any::<bool>()).prop_map(|(channel, data, kind, key, removed)| {
            Request::Publish(PublishRequest { channel, data, kind, key, removed })
        }),
        text().prop_map(|channel| Request::Presence(PresenceRequest { channel })),
        text().prop_map(|channel| Request::PresenceStats(PresenceStatsRequest { channel })),
        (text(), any::<i32>(), option::of(position), any::<bool>()).prop_map(|(channel, limit, since, reverse)| {
            Request::History(HistoryRequest { channel, limit, since, reverse })
        }),
        Just(Request::Ping(PingRequest {})),
        payload().prop_map(|data| Request::Send(SendRequest { data })),
        (payload(), text()).prop_map(|(data, method)| Request::Rpc(RpcRequest { data, method })),
        text().prop_map(|token| Request::Refresh(RefreshRequest { token })),
        (text(), text()).prop_map(|(channel, token)| Request::SubRefresh(SubRefreshRequest { channel, token })),
    ]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => Just(Command::PONG),
        9 => (any::<u32>(), request()).prop_map(|(id, request)| Command::new(id, request)),
    ]
}

fn push_body() -> impl Strategy<Value = PushBody> {
    let connect = (text(), payload(), server_subscriptions(), any::<i64>())
        .prop_map(|(client, data, subs, time)| ConnectPush { client, data, subs, time, ..ConnectPush::default() });
    let subscribe = (any::<bool>(), text(), any::<u64>(), any::<bool>(), payload()).prop_map(
        |(recoverable, epoch, offset, positioned, data)| SubscribePush { recoverable, epoch, offset, positioned, data },
    );
    prop_oneof![
        publication().prop_map(PushBody::Pub),
        client_info().prop_map(|info| PushBody::Join(Join { info })),
        client_info().prop_map(|info| PushBody::Leave(Leave { info })),
        (any::<u32>(), text()).prop_map(|(code, reason)| PushBody::Unsubscribe(UnsubscribePush { code, reason })),
        payload().prop_map(|data| PushBody::Message(MessagePush { data })),
        subscribe.prop_map(PushBody::Subscribe),
        connect.prop_map(PushBody::Connect),
        (any::<u32>(), text(), any::<bool>())
            .prop_map(|(code, reason, reconnect)| PushBody::Disconnect(DisconnectPush { code, reason, reconnect })),
        (any::<bool>(), any::<u32>()).prop_map(|(expires, ttl)| PushBody::Refresh(RefreshPush { expires, ttl })),
    ]
}

fn reply_body() -> impl Strategy<Value = ReplyBody> {
    let refresh = (text(), text(), any::<bool>(), any::<u32>())
        .prop_map(|(client, version, expires, ttl)| RefreshResult { client, version, expires, ttl });
    prop_oneof![
        (any::<u32>(), ".{1,20}", any::<bool>()).prop_map(|(code, message, temporary)| ReplyBody::Error(Error {
            code,
            message,
            temporary
        })),
        (any::<i64>(), text(), push_body()).prop_map(|(id, channel, body)| ReplyBody::Push(Push {
            id,
            channel,
            body: Some(body)
        })),
        connect_result().prop_map(ReplyBody::Connect),
        subscribe_result().prop_map(ReplyBody::Subscribe),
        Just(ReplyBody::Unsubscribe(UnsubscribeResult {})),
        Just(ReplyBody::Publish(PublishResult {})),
        collection::btree_map(text(), client_info(), 0..3)
            .prop_map(|presence| ReplyBody::Presence(PresenceResult { presence })),
        (any::<u32>(), any::<u32>()).prop_map(|(num_clients, num_users)| {
            ReplyBody::PresenceStats(PresenceStatsResult { num_clients, num_users })
        }),
        (collection::vec(publication(), 0..3), text(), any::<u64>()).prop_map(|(publications, epoch, offset)| {
            ReplyBody::History(HistoryResult { publications, epoch, offset })
        }),
        Just(ReplyBody::Ping(PingResult {})),
        payload().prop_map(|data| ReplyBody::Rpc(RpcResult { data })),
        refresh.prop_map(ReplyBody::Refresh),
        (any::<bool>(), any::<u32>())
            .prop_map(|(expires, ttl)| ReplyBody::SubRefresh(SubRefreshResult { expires, ttl })),
    ]
}

pub(crate) fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        1 => Just(Reply::PING),
        9 => (any::<u32>(), reply_body()).prop_map(|(id, body)| Reply::to(id, body)),
    ]
}
