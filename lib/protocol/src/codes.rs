//! Every error code, in one table: the constants, [`text`] and `docs/error-codes.md` all come from it.
//!
//! ```
//! use roomhook_protocol::codes;
//! assert_eq!(codes::ROOM_MISSING, 100_004);
//! assert_eq!(codes::text(codes::ROOM_MISSING), Some("room does not exist or was dissolved"));
//! ```

/// Which APIs a code belongs to. A family also knows the code it uses for a malformed parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Any API: HTTP, JSON, application (60xxx).
    Common,
    /// `UserSig` and account management (70xxx, and 40xxx for profile values).
    Account,
    /// What a message says (80xxx).
    Content,
    /// `group_open_http_svc` (10xxx).
    Group,
    /// `live_engine_http_srv` and `live_config` (100xxx).
    Live,
}

impl Family {
    /// The code for a missing, mistyped or out-of-range parameter of an API of this family.
    #[must_use]
    pub const fn bad_parameter(self) -> i32 {
        match self {
            Self::Live => LIVE_BAD_PARAMETER,
            Self::Group | Self::Content => GROUP_BAD_PARAMETER,
            Self::Account | Self::Common => BAD_PARAMETER,
        }
    }

    /// The code for "our fault": nothing the caller sent is wrong.
    #[must_use]
    pub const fn internal(self) -> i32 {
        match self {
            Self::Live => LIVE_INTERNAL,
            Self::Group | Self::Content => GROUP_INTERNAL,
            Self::Account | Self::Common => ACCOUNT_INTERNAL,
        }
    }

    /// The code for a room or group that does not exist.
    #[must_use]
    pub const fn room_missing(self) -> i32 {
        match self {
            Self::Live => ROOM_MISSING,
            _ => GROUP_MISSING,
        }
    }

    /// The name used in the documentation.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Common => "Common to all APIs",
            Self::Account => "UserSig and accounts",
            Self::Content => "Message content",
            Self::Group => "Chat groups",
            Self::Live => "Live rooms",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `ErrorCode`.
    pub number: i32,
    /// Name of the constant in this module.
    pub name: &'static str,
    /// What it means, lower case, no full stop; a good default for `ErrorInfo`.
    pub text: &'static str,
    /// Which APIs give it.
    pub family: Family,
}

/// The table's row for a number.
#[must_use]
pub fn find(number: i32) -> Option<&'static Code> {
    ALL.iter().find(|code| code.number == number)
}

/// What a number means; `None` when it is not in the table.
#[must_use]
pub fn text(number: i32) -> Option<&'static str> {
    find(number).map(|code| code.text)
}

/// `ErrorCode` of success.
pub const OK: i32 = 0;

/// The codes that a before-send webhook may give to a refused sender (protocol: webhooks §1.5).
pub const WEBHOOK_OWN: std::ops::RangeInclusive<i32> = 10_100..=10_200;

macro_rules! codes {
    ($($family:ident { $($name:ident = $number:literal, $text:literal;)* })*) => {
        $($(
            #[doc = concat!($text, ".")]
            pub const $name: i32 = $number;
        )*)*

        /// The whole table, by family, then by number.
        pub const ALL: &[Code] = &[$($(
            Code { number: $number, name: stringify!($name), text: $text, family: Family::$family },
        )*)*];
    };
}

codes! {
    Common {
        URL_MALFORMED = 60_002, "the URL of the request cannot be parsed";
        JSON_MALFORMED = 60_003, "the JSON of the request cannot be parsed";
        CREDENTIALS_MISSING = 60_004, "identifier or usersig is missing or malformed";
        CREDENTIALS_WRONG = 60_005, "identifier or usersig is wrong";
        SDKAPPID_INVALID = 60_006, "sdkappid is invalid";
        API_RATE = 60_007, "call rate of this API exceeded";
        HTTP_MALFORMED = 60_008, "request timed out or is not well-formed HTTP";
        RESOURCE_MISSING = 60_009, "no such resource, check the URL";
        NOT_APP_ADMIN = 60_010, "identifier is not an app admin";
        APP_RATE = 60_011, "request rate of the app exceeded";
        SDKAPPID_MISSING = 60_012, "sdkappid is missing";
        ANSWER_MALFORMED = 60_013, "the JSON of the response cannot be parsed";
        ACCOUNT_SWITCH_TIMEOUT = 60_014, "account switch timed out";
        USER_ID_NOT_STRING = 60_015, "a user id is not a string";
        APP_DISABLED = 60_016, "the app is disabled";
        REQUEST_DISABLED = 60_017, "this request is disabled";
        TOO_MANY_REQUESTS = 60_018, "too many requests, slow down";
        TOO_MANY_REQUESTS_AGAIN = 60_019, "too many requests, try again later";
        PACKAGE_EXPIRED = 60_020, "the package of the app has expired";
        SOURCE_IP_REFUSED = 60_021, "source address is not allowed";
    }
    Account {
        PROFILE_VALUE_INVALID = 40_006, "profile value is invalid";
        PROFILE_VALUE_TOO_LONG = 40_601, "profile value is longer than 500 bytes";
        USERSIG_EXPIRED = 70_001, "usersig expired";
        USERSIG_EMPTY = 70_002, "usersig is empty";
        USERSIG_MALFORMED = 70_003, "usersig cannot be decoded";
        USERSIG_MALFORMED_CONTENT = 70_005, "usersig content cannot be decoded";
        USERSIG_FORGED = 70_009, "usersig does not match, check the secret key";
        USERSIG_OTHER_USER = 70_013, "usersig was made for another user id";
        USERSIG_OTHER_APP = 70_014, "usersig was made for another sdkappid";
        KEY_MISSING = 70_016, "the app has no secret key";
        APP_UNKNOWN = 70_020, "the app is unknown";
        USERSIG_FAILURES = 70_050, "too many failed usersig checks, wait a minute";
        ACCOUNT_DENIED = 70_051, "the account is on a deny list";
        LOGIN_TICKET_EXPIRED = 70_101, "login ticket expired";
        ACCOUNT_MISSING = 70_107, "the account was not imported";
        LOGIN_RESTRICTED = 70_114, "login is restricted";
        ACCOUNT_TIMEOUT = 70_169, "server timed out, try again";
        ACCOUNT_BATCH_TIMEOUT = 70_202, "server timed out on a batch, try again";
        BATCH_SIZE = 70_206, "wrong number of items in a batch";
        ACCOUNT_QUOTA = 70_398, "account quota exceeded";
        BAD_PARAMETER = 70_402, "invalid parameter";
        APP_ADMIN_NEEDED = 70_403, "only an app admin may do this";
        ACCOUNT_INTERNAL = 70_500, "internal error, try again";
    }
    Content {
        TEXT_REJECTED = 80_001, "text failed moderation";
        MESSAGE_TOO_LONG = 80_002, "message is too long";
        WEBHOOK_FAILED = 80_003, "the before-send webhook failed and the policy is to drop";
        IMAGE_REJECTED = 80_004, "image failed moderation";
    }
    Group {
        GROUP_INTERNAL = 10_002, "internal error, try again";
        GROUP_COMMAND_UNKNOWN = 10_003, "unknown command";
        GROUP_BAD_PARAMETER = 10_004, "invalid parameter";
        GROUP_TOO_MANY_ACCOUNTS = 10_005, "too many accounts in one request";
        GROUP_RATE = 10_006, "operation rate exceeded";
        GROUP_NOT_PERMITTED = 10_007, "no permission, or not possible for this group type";
        GROUP_REQUEST_ILLEGAL = 10_008, "illegal request";
        GROUP_MISSING = 10_010, "group does not exist or was dissolved";
        GROUP_JSON_MALFORMED = 10_011, "the JSON of the request cannot be parsed";
        GROUP_OPERATOR_INVALID = 10_012, "operator is invalid";
        GROUP_ALREADY_MEMBER = 10_013, "already a member";
        GROUP_FULL = 10_014, "group is full";
        GROUP_ID_MALFORMED = 10_015, "group id is malformed";
        WEBHOOK_REFUSED = 10_016, "rejected by webhook";
        GROUP_MUTED = 10_017, "sender is muted";
        GROUP_ANSWER_TOO_LARGE = 10_018, "answer is larger than 1 MB";
        GROUP_USER_MISSING = 10_019, "user does not exist";
        GROUP_ID_TAKEN = 10_021, "group id is taken";
        GROUP_MESSAGE_RATE = 10_023, "message rate of the group exceeded";
        GROUP_ID_TAKEN_OWNED = 10_025, "group id is taken and you own the group";
        GROUP_COMMAND_DISABLED = 10_026, "command is disabled";
        RECALL_MESSAGE_MISSING = 10_030, "message to recall does not exist";
        RECALL_TOO_LATE = 10_031, "message is too old to be recalled";
        RECALL_REFUSED = 10_032, "message cannot be recalled";
        RECALL_UNSUPPORTED = 10_033, "group type does not support recall";
        GROUP_AV_QUOTA = 10_036, "quota of audio-video groups exceeded";
        GROUP_USER_QUOTA = 10_037, "quota of groups per user exceeded";
        GROUP_MEMBER_LIMIT = 10_038, "member limit exceeded";
        RECALL_DISABLED = 10_041, "recall is disabled";
        HISTORY_UNSUPPORTED = 10_044, "group type keeps no history";
        ATTRIBUTE_KEY_TOO_LONG = 10_045, "group attribute key is longer than 32 bytes";
        ATTRIBUTE_VALUE_TOO_LONG = 10_046, "group attribute value is longer than 4000 bytes";
        ATTRIBUTE_TOO_MANY = 10_047, "more than 16 group attributes";
        ATTRIBUTE_TOTAL = 10_048, "group attributes are larger than 16000 bytes in total";
        ATTRIBUTE_RATE = 10_049, "write rate of group attributes exceeded";
        ATTRIBUTE_MISSING = 10_050, "group attribute does not exist";
        TOO_MANY_MENTIONS = 10_053, "more than 30 users mentioned";
        ATTRIBUTE_CONFLICT = 10_056, "group attribute was changed meanwhile";
        GROUP_TRIAL_QUOTA = 10_058, "trial quota of groups exceeded";
    }
    Live {
        LIVE_INTERNAL = 100_001, "internal error, try again";
        LIVE_BAD_PARAMETER = 100_002, "invalid parameter";
        ROOM_ID_TAKEN = 100_003, "room id is taken";
        ROOM_MISSING = 100_004, "room does not exist or was dissolved";
        ROOM_NOT_MEMBER = 100_005, "not a member of the room";
        ROOM_NOT_PERMITTED = 100_006, "no permission";
        PACKAGE_MISSING = 100_007, "the app has no package for this";
        ROOM_FULL = 100_008, "room is full";
        ROOM_TAG_LIMIT = 100_009, "too many tags";
        ROOM_ID_TAKEN_OWNED = 100_010, "room id is taken and the operator owns the room";
        ROOM_ID_TAKEN_GROUP = 100_011, "room id is taken by a Chat group";
        ROOM_CREATE_RATE = 100_012, "room creation rate exceeded";
        ROOM_LIMIT = 100_013, "a limit is exceeded";
        ROOM_TYPE_UNFIT = 100_015, "room type does not allow the operation";
        ROOM_BANNED = 100_016, "user is banned from the room";
        ROOM_MUTED = 100_017, "user is muted in the room";
        ROOM_PASSWORD_NEEDED = 100_018, "room needs a password";
        ROOM_PASSWORD_WRONG = 100_019, "room password is wrong";
        ROOM_ADMIN_LIMIT = 100_020, "more than 5 admins";
        SIGNALLING_CONFLICT = 100_102, "signalling request conflicts with another";
        CALLBACK_EXISTS = 100_300, "webhook is configured already, use update_callback";
        CALLBACK_MISSING = 100_301, "no webhook is configured";
        CALLBACK_TOKEN_MISSING = 100_302, "no webhook token is configured";
        METADATA_TOO_MANY = 100_500, "too many metadata keys";
        METADATA_VALUE_TOO_LONG = 100_501, "metadata value is too long";
        METADATA_TOTAL = 100_502, "metadata is too large in total";
        METADATA_NO_VALID_KEY = 100_503, "no valid metadata key to delete";
        METADATA_KEY_TOO_LONG = 100_504, "metadata key is too long";
    }
}
