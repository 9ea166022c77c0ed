//! Command words: what an endpoint can be switched on for.

use std::fmt;

macro_rules! command_words {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// A known command word (protocol: webhooks §2–§6). Words are written `Family.CallbackName`.
        ///
        /// ```
        /// use roomhook_protocol::webhook::CommandWord;
        /// let word = CommandWord::parse("Group.CallbackAfterSendMsg");
        /// assert_eq!(word, Some(CommandWord::GroupAfterSendMsg));
        /// assert_eq!(CommandWord::parse("Group.callbackaftersendmsg"), None);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum CommandWord {
            $($(#[$doc])* #[doc = concat!("`", $word, "`.")] $name,)*
        }

        impl CommandWord {
            /// Every known word.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The word for a text; `None` when it is not known. Case matters.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

command_words! {
    /// A room message was sent.
    GroupAfterSendMsg = "Group.CallbackAfterSendMsg",
    /// A room message is about to be sent; the answer decides.
    GroupBeforeSendMsg = "Group.CallbackBeforeSendMsg",
    /// A room message could not be sent.
    GroupSendMsgException = "Group.CallbackSendMsgException",
    GroupAfterRecallMsg = "Group.CallbackAfterRecallMsg",
    LiveAfterCreateRoom = "Live.CallbackAfterCreateRoom",
    LiveAfterDestroyRoom = "Live.CallbackAfterDestroyRoom",
    LiveAfterUpdateRoomInfo = "Live.CallbackAfterUpdateRoomInfo",
    LiveAfterMemberStateChanged = "Live.CallbackAfterMemberStateChanged",
    LiveAfterChangeOwner = "Live.CallbackAfterChangeOwner",
    LiveAfterModifyAdmin = "Live.CallbackAfterModifyAdmin",
    LiveAfterSetMetadata = "Live.CallbackAfterSetMetadata",
    LiveAfterDelMetadata = "Live.CallbackAfterDelMetadata",
    LiveAfterCreateRoomReachingThreshold = "Live.CallbackAfterCreateRoomReachingThreshold",
    MicAfterSeatInfoChanged = "Mic.CallbackAfterSeatInfoChanged",
    LiveAfterCreateBattle = "Live.CallbackAfterCreateBattle",
    LiveAfterStartBattle = "Live.CallbackAfterStartBattle",
    LiveAfterEndBattle = "Live.CallbackAfterEndBattle",
    /// A gift is about to be sent; anything but a clear yes blocks it.
    LiveBeforeSendGift = "Live.CallbackBeforeSendGift",
    /// Never sent: a switch by which a failing [`CommandWord::LiveBeforeSendGift`] lets the gift pass.
    LiveBeforeCallBackNotBlock = "Live.CallbackBeforeCallBackNotBlock",
    FollowAfterFollowAdd = "Follow.CallbackAfterFollowAdd",
    FollowAfterFollowDelete = "Follow.CallbackAfterFollowDelete",
    GroupBeforeCreateGroup = "Group.CallbackBeforeCreateGroup",
    GroupAfterCreateGroup = "Group.CallbackAfterCreateGroup",
    GroupBeforeApplyJoinGroup = "Group.CallbackBeforeApplyJoinGroup",
    GroupBeforeInviteJoinGroup = "Group.CallbackBeforeInviteJoinGroup",
    GroupAfterNewMemberJoin = "Group.CallbackAfterNewMemberJoin",
    GroupAfterMemberExit = "Group.CallbackAfterMemberExit",
    GroupAfterGroupFull = "Group.CallbackAfterGroupFull",
    GroupAfterGroupDestroyed = "Group.CallbackAfterGroupDestroyed",
    GroupAfterGroupInfoChanged = "Group.CallbackAfterGroupInfoChanged",
    GroupOnMemberStateChange = "Group.CallbackOnMemberStateChange",
    GroupAfterMemberFieldChanged = "Group.CallbackAfterMemberFieldChanged",
    GroupAfterChangeGroupOwner = "Group.CallbackAfterChangeGroupOwner",
}

impl CommandWord {
    /// Whether the answer to this webhook decides what happens; such a webhook is sent once and never retried.
    #[must_use]
    pub const fn is_before(self) -> bool {
        matches!(
            self,
            Self::GroupBeforeSendMsg
                | Self::LiveBeforeSendGift
                | Self::GroupBeforeCreateGroup
                | Self::GroupBeforeApplyJoinGroup
                | Self::GroupBeforeInviteJoinGroup
        )
    }
}

impl fmt::Display for CommandWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
