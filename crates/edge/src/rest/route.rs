//! Which command a path names (protocol: rest §2–§8).

use roomhook_protocol::codes::Family;

use super::not_served;

/// The commands this server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Command {
    SendTextMsg,
    SendCustomMsg,
    CreateRoom,
    DestroyRoom,
    GetRoomInfo,
    SendGroupMsg,
    SetCallback,
    UpdateCallback,
    GetCallback,
    DeleteCallback,
    SetCallbackToken,
    GetCallbackToken,
    DeleteCallbackToken,
    AccountImport,
    MultiaccountImport,
    AccountCheck,
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Served(Command),
    /// Part of the API, but not of this server.
    NotServed,
    Unknown,
}

/// How an answer is wrapped (protocol: rest §1, "Response envelope").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// `RequestId`, payload in `Response`.
    Live,
    /// Payload at the top level.
    Chat,
}

pub(super) const LIVE_ENGINE: &str = "live_engine_http_srv";
const LIVE_CONFIG: &str = "live_config";
pub(super) const GROUP_OPEN: &str = "group_open_http_svc";
pub(super) const IM_OPEN_LOGIN: &str = "im_open_login_svc";

/// The dispatch table.
const SERVED: [(&str, &str, Command); 16] = [
    (GROUP_OPEN, "send_group_msg", Command::SendGroupMsg),
    (LIVE_ENGINE, "send_text_msg", Command::SendTextMsg),
    (LIVE_ENGINE, "send_custom_msg", Command::SendCustomMsg),
    (LIVE_ENGINE, "create_room", Command::CreateRoom),
    (LIVE_ENGINE, "destroy_room", Command::DestroyRoom),
    (LIVE_ENGINE, "get_room_info", Command::GetRoomInfo),
    (LIVE_CONFIG, "set_callback", Command::SetCallback),
    (LIVE_CONFIG, "update_callback", Command::UpdateCallback),
    (LIVE_CONFIG, "get_callback", Command::GetCallback),
    (LIVE_CONFIG, "delete_callback", Command::DeleteCallback),
    (LIVE_CONFIG, "set_callback_token", Command::SetCallbackToken),
    (LIVE_CONFIG, "get_callback_token", Command::GetCallbackToken),
    (LIVE_CONFIG, "delete_callback_token", Command::DeleteCallbackToken),
    (IM_OPEN_LOGIN, "account_import", Command::AccountImport),
    (IM_OPEN_LOGIN, "multiaccount_import", Command::MultiaccountImport),
    (IM_OPEN_LOGIN, "account_check", Command::AccountCheck),
];

/// Reads `/v4/<service>/<command>`. Case matters, and so does a slash at the end.
pub(super) fn find(path: &str) -> (Route, Wrapping) {
    let Some((service, command)) = path.strip_prefix("/v4/").and_then(|rest| rest.split_once('/')) else {
        return (Route::Unknown, Wrapping::Chat);
    };
    let wrapping = match service {
        LIVE_ENGINE | LIVE_CONFIG | "room_engine_http_mic" | "live_engine_http_pk" => Wrapping::Live,
        _ => Wrapping::Chat,
    };
    let served = SERVED.iter().find(|(of, name, _)| *name == command && *of == service);
    let route = match served {
        Some((_, _, command)) => Route::Served(*command),
        None if not_served::knows(service, command) => Route::NotServed,
        None => Route::Unknown,
    };
    (route, wrapping)
}

impl Command {
    pub(super) const ALL: [Self; SERVED.len()] = {
        let mut all = [Self::SendGroupMsg; SERVED.len()];
        let mut at = 0;
        while at < SERVED.len() {
            all[at] = SERVED[at].2;
            at += 1;
        }
        all
    };

    /// The command word, as a metric label.
    pub(super) fn name(self) -> &'static str {
        SERVED.iter().find(|(_, _, command)| *command == self).map_or("other", |(_, name, _)| name)
    }

    /// Whose private error codes the command uses.
    pub(super) fn family(self) -> Family {
        match self {
            Self::SendTextMsg
            | Self::SendCustomMsg
            | Self::CreateRoom
            | Self::DestroyRoom
            | Self::GetRoomInfo
            | Self::SetCallback
            | Self::UpdateCallback
            | Self::GetCallback
            | Self::DeleteCallback
            | Self::SetCallbackToken
            | Self::GetCallbackToken
            | Self::DeleteCallbackToken => Family::Live,
            Self::SendGroupMsg => Family::Group,
            Self::AccountImport | Self::MultiaccountImport | Self::AccountCheck => Family::Account,
        }
    }

    /// Whether the body is a message, for which "too large" has a code of its own (80002).
    pub(super) fn sends_message(self) -> bool {
        matches!(self, Self::SendTextMsg | Self::SendCustomMsg | Self::SendGroupMsg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        assert_eq!(
            find("/v4/live_engine_http_srv/send_text_msg"),
            (Route::Served(Command::SendTextMsg), Wrapping::Live)
        );
        assert_eq!(
            find("/v4/group_open_http_svc/send_group_msg"),
            (Route::Served(Command::SendGroupMsg), Wrapping::Chat)
        );
        assert_eq!(find("/v4/live_engine_http_srv/mute_member"), (Route::NotServed, Wrapping::Live));
        assert_eq!(find("/v4/room_engine_http_mic/lock_seat"), (Route::NotServed, Wrapping::Live));
        assert_eq!(find("/v4/im_open_login_svc/kick"), (Route::NotServed, Wrapping::Chat));
        assert_eq!(find("/v4/sns/friend_add"), (Route::NotServed, Wrapping::Chat));
        for unknown in [
            "/",
            "/v4",
            "/v4/",
            "/v4/live_engine_http_srv",
            "/v4/live_engine_http_srv/",
            "/v4/live_engine_http_srv/send_text_msg/",
            "/v4/live_engine_http_srv/Send_Text_Msg",
            "/v4//send_text_msg",
            "/v4/live_config/send_text_msg",
            "/v3/live_engine_http_srv/send_text_msg",
            "/v4/live_engine_http_srv/mute_members",
            "/v4/sns",
            "/v4/sns/",
            "/v4/sns/friend_add/",
            "/v4/openim/friend_add",
            "/v4/Sns/friend_add",
            "/v4/live_engine_http_srv/send_text_msg%00",
        ] {
            assert_eq!(find(unknown).0, Route::Unknown, "{unknown}");
        }
    }

    #[test]
    fn no_command_is_listed_twice_or_as_not_served() {
        for (at, (service, name, command)) in SERVED.iter().enumerate() {
            assert!(!SERVED[..at].iter().any(|(of, other, _)| (of, other) == (service, name)), "{service}/{name}");
            assert!(!not_served::knows(service, name), "{service}/{name}");
            assert_ne!(command.name(), "other");
        }
    }
}
