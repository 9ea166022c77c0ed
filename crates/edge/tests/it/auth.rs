//! Who is let in: the vectors of the official packages, each refusal with its code, in the documented order.

use std::{collections::HashSet, sync::Arc, time::Instant};

use roomhook_edge::{
    apps::{App, Apps},
    auth::{Authenticator, CacheLimits, Credentials},
    telemetry::AuthMetrics,
};
use roomhook_protocol::usersig::{Mint, mint};
use roomhook_room::{AppId, UnixMillis, UserId};

const APP: u32 = 1_400_000_001;
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

fn app(id: u32, key: &str) -> App {
    let admins = HashSet::from([UserId::new("administrator").unwrap()]);
    App { id: AppId(id), key: key.into(), admins, disabled: false }
}

struct Door {
    apps: Arc<Apps>,
    authenticator: Authenticator,
}

fn door() -> Door {
    let closed = App { disabled: true, ..app(7, "k7") };
    let apps = Arc::new(Apps::new(vec![app(APP, "secret"), app(8, "k8"), closed]).unwrap());
    let authenticator = Authenticator::new(Arc::clone(&apps), CacheLimits::default(), AuthMetrics::default());
    Door { apps, authenticator }
}

fn sig(sdkappid: u32, key: &str, userid: &str) -> String {
    mint(&Mint { sdkappid, key, userid, expire_secs: 100, now_secs: NOW.secs(), userbuf: None })
}

impl Door {
    /// The code a caller gets; 0 = let in.
    fn code(&self, sdkappid: Option<&str>, identifier: Option<&str>, usersig: Option<&str>, now: UnixMillis) -> i32 {
        let admin = self.authenticator.admin(Credentials { sdkappid, identifier, usersig }, now);
        admin.map_or_else(|error| error.code(), |_| 0)
    }
}

#[test]
fn each_refusal_has_its_code_and_the_documented_order() {
    let door = door();
    let good = sig(APP, "secret", "administrator");
    let (app, admin) = (Some("1400000001"), Some("administrator"));
    let cut = &good[..good.len() - 9];
    let rows = [
        (None, None, None, 60012),
        (Some(""), admin, Some(&*good), 60012),
        (Some("x"), None, None, 60006),
        (Some("+1400000001"), admin, Some(&good), 60006),
        (Some("99999999999"), admin, Some(&good), 60006),
        (Some("9"), None, None, 60006),
        (Some("7"), None, None, 60016),
        (app, None, None, 60004),
        (app, Some(""), Some(&good), 60004),
        (app, admin, None, 60004),
        (app, admin, Some(""), 70002),
        (app, admin, Some("not a usersig"), 70003),
        (app, admin, Some(cut), 70003),
        (app, Some("nobody"), Some(cut), 70003),
        (Some("8"), Some("nobody"), Some(&good), 70014),
        (app, Some("nobody"), Some(&good), 70013),
        (app, admin, Some(&good), 0),
    ];
    for (app, identifier, usersig, code) in rows {
        assert_eq!(door.code(app, identifier, usersig, NOW), code, "{app:?} {identifier:?} {usersig:?}");
    }
    assert_eq!(door.code(app, admin, Some(&sig(APP, "guessed", "administrator")), NOW), 70009);
    let guest = sig(APP, "secret", "guest");
    assert_eq!(door.code(app, Some("guest"), Some(&guest), NOW), 60010);
}

#[test]
fn a_cached_signature_expires_on_time() {
    let door = door();
    let good = sig(APP, "secret", "administrator");
    let ask = |secs: u64| door.code(Some("1400000001"), Some("administrator"), Some(&good), UnixMillis(secs * 1000));
    assert_eq!(ask(NOW.secs() + 99), 0);
    assert_eq!(ask(NOW.secs() + 99), 0);
    assert_eq!(ask(NOW.secs() + 100), 70001);
    assert_eq!(ask(NOW.secs() + 101), 70001);
}

#[test]
fn a_new_key_shuts_out_what_the_old_one_signed() {
    let door = door();
    let good = sig(APP, "secret", "administrator");
    let ask = || door.code(Some("1400000001"), Some("administrator"), Some(&good), NOW);
    assert_eq!(ask(), 0);
    door.apps.replace(vec![app(APP, "secret")]).unwrap();
    assert_eq!(ask(), 0);
    door.apps.replace(vec![app(APP, "rotated")]).unwrap();
    assert_eq!(ask(), 70009);
    door.apps.replace(vec![]).unwrap();
    assert_eq!(ask(), 60006);
}

/// Not a benchmark: a guard against paying for inflating and HMAC (about 10 µs) on every call again. The bound is far above
/// the 0.1 µs that a hit takes, so that a busy machine does not fail it.
#[test]
fn a_hit_costs_next_to_nothing() {
    let door = door();
    let good = sig(APP, "secret", "administrator");
    let ask = || door.code(Some("1400000001"), Some("administrator"), Some(&good), NOW);
    assert_eq!(ask(), 0);
    let best_ns = (0..20)
        .map(|_| {
            let started = Instant::now();
            (0..1000).for_each(|_| assert_eq!(ask(), 0));
            started.elapsed().as_nanos() / 1000
        })
        .min();
    let bound_ns = if cfg!(debug_assertions) { 10_000 } else { 1_000 };
    assert!(best_ns.is_some_and(|ns| ns < bound_ns), "{best_ns:?} ns");
}
