//! What the vendor's API has and this server does not: callers are told so, instead of being sent to look for a mistake in
//! their URL.

use super::route::{GROUP_OPEN, IM_OPEN_LOGIN, LIVE_ENGINE};

/// A service of the API, and what of it is not served.
enum Lacks {
    /// These commands.
    Some(&'static str, &'static [&'static str]),
    /// Whatever the service is asked.
    All(&'static str),
}

/// Whether `service/command` is part of the API and not of this server.
pub(super) fn knows(service: &str, command: &str) -> bool {
    NOT_SERVED.iter().any(|lacks| match lacks {
        Lacks::Some(of, commands) => *of == service && commands.contains(&command),
        Lacks::All(of) => *of == service && !command.is_empty() && !command.contains('/'),
    })
}

const NOT_SERVED: &[Lacks] = &[
    Lacks::Some(LIVE_ENGINE, LIVE),
    Lacks::Some(GROUP_OPEN, GROUP),
    Lacks::Some(IM_OPEN_LOGIN, &["kick", "account_delete"]),
    Lacks::Some(
        "room_engine_http_mic",
        &["get_seat_list", "pick_user_on_seat", "kick_user_off_seat", "lock_seat", "switch_seat", "move_user_to_seat"],
    ),
    Lacks::Some("live_engine_http_pk", &["create_battle", "set_battle_score", "get_battle_info"]),
    Lacks::Some(
        "group_open_avchatroom_http_svc",
        &["get_members", "modify_user_info", "modify_admin", "get_admin_list", "check_members"],
    ),
    Lacks::Some("group_open_attr_http_svc", &["get_group_attr"]),
    Lacks::Some(
        "openim",
        &[
            "sendmsg",
            "batchsendmsg",
            "query_online_status",
            "querystate",
            "modify_group_msg",
            "importmsg",
            "admin_msgwithdraw",
            "admin_getroammsg",
            "admin_set_msg_read",
            "get_c2c_unread_msg_num",
            "modify_c2c_msg",
            "im_push",
        ],
    ),
    Lacks::Some("openconfigsvr", &["setnospeaking", "getnospeaking", "getappinfo"]),
    Lacks::Some("profile", &["portrait_get", "portrait_set"]),
    Lacks::Some("ConfigSvc", &["GetIPList"]),
    Lacks::Some("open_msg_svc", &["get_history"]),
    // Friends, followers, conversations, pushes to everybody, files, message extensions, communities, official accounts,
    // chatbots.
    Lacks::All("sns"),
    Lacks::All("follow"),
    Lacks::All("recentcontact"),
    Lacks::All("all_member_push"),
    Lacks::All("im_cos_msg"),
    Lacks::All("openim_msg_ext_http_svc"),
    Lacks::All("million_group_open_http_svc"),
    Lacks::All("official_account_open_http_svc"),
    Lacks::All("openim_robot_http_svc"),
];

const LIVE: &[&str] = &[
    "update_room_info",
    "get_room_list",
    "change_room_owner",
    "set_room_metadata",
    "get_room_metadata",
    "del_room_metadata",
    "get_room_stats",
    "get_room_statistic",
    "get_member_list",
    "mute_member",
    "get_muted_member_list",
    "ban_member",
    "unban_member",
    "get_banned_member_list",
    "modify_admin",
    "get_admin_list",
    "add_robot",
    "get_robot",
    "del_robot",
    "send_gift",
    "get_gift_count",
    "add_gift",
    "edit_gift",
    "del_gift",
    "get_gift",
    "get_gift_info_list",
    "set_gift_language",
    "get_gift_language",
    "del_gift_language",
    "add_gift_category",
    "edit_gift_category",
    "del_gift_category",
    "get_gift_category",
    "add_gift_category_relations",
    "del_gift_category_relations",
    "get_gift_category_relations",
    "set_gift_category_language",
    "get_gift_category_language",
    "del_gift_category_language",
    "copy_default_gift_config",
    "resume_mcu_task",
    "set_mix_stream",
];

const GROUP: &[&str] = &[
    "group_msg_recall",
    "group_msg_get_simple",
    "send_group_system_notification",
    "forbid_send_msg",
    "get_group_muted_account",
    "get_group_shutted_uin",
    "ban_group_member",
    "unban_group_member",
    "get_group_ban_member",
    "create_group",
    "destroy_group",
    "get_online_member_num",
    "send_broadcast_msg",
    "get_group_info",
    "get_appid_group_list",
    "modify_group_base_info",
    "change_group_owner",
    "get_group_member_info",
    "get_specified_group_member_info",
    "modify_group_member_info",
    "get_role_in_group",
    "get_joined_group_list",
    "add_group_member",
    "delete_group_member",
    "delete_group_msg_by_sender",
    "modify_group_msg",
    "set_unread_msg_num",
    "set_group_attr",
    "modify_group_attr",
    "clear_group_attr",
    "delete_group_attr",
    "get_group_attr",
    "get_group_counter",
    "update_group_counter",
    "delete_group_counter",
    "import_group",
    "import_group_msg",
    "import_group_member",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_is_listed_twice() {
        let mut all: Vec<String> = Vec::new();
        for lacks in NOT_SERVED {
            match lacks {
                Lacks::Some(service, commands) => all.extend(commands.iter().map(|name| format!("{service}/{name}"))),
                Lacks::All(service) => all.push(format!("{service}/")),
            }
        }
        let listed = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), listed);
    }
}
