//! Endpoints that attack the server. Each attack must fail within the timeout, with a reason that a person understands in
//! the trail of the message (`GET …/trail`), and must not make the server grow.

mod addresses;
mod http1;
pub(crate) mod http2;
pub(crate) mod tls;
pub(crate) mod wire;

use serde_json::{Value, json};

use crate::{
    admin::{OK, Operator, group_msg, of, open_lobby},
    support::{SDKAPPID, Server, until},
};

/// One way to attack, and what the trail says of it.
pub(crate) struct Attack {
    pub(crate) name: String,
    pub(crate) url: String,
    /// Settings of the endpoint beside its URL.
    pub(crate) settings: Value,
    pub(crate) expect: Expect,
}

/// What the trail of the attempt must say.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// No full answer, for exactly this reason.
    Reason(String),
    /// No full answer, for a reason that begins like this.
    Beginning(&'static str),
    /// No full answer, for a reason that ends like this.
    Ending(&'static str),
    /// No full answer, for a reason that ends like one of these: which of two limits is met first is up to the scheduler.
    EndingEither([&'static str; 2]),
    /// It was cut off for this reason, or stopped by itself, as a flooder does who reads nothing, until the time was up.
    EndingOrLate(&'static str),
    /// An answer with this status, and this remark.
    Status(u16, &'static str),
    /// An answer that acknowledges, without any remark.
    Delivered,
}

impl Attack {
    pub(crate) fn new(name: &str, url: String, expect: Expect) -> Self {
        Self { name: name.to_owned(), url, settings: json!({}), expect }
    }
}

pub(crate) fn reason(text: &str) -> Expect {
    Expect::Reason(text.to_owned())
}

impl Attack {
    /// What only a timeout ends has a short one, so that the test is soon over; what ends before has a long one, so that it
    /// does on a machine that is busy.
    fn timeout_ms(&self) -> u32 {
        match &self.expect {
            Expect::Reason(text) if text.starts_with(LATE) => 3_000,
            Expect::EndingOrLate(_) => 3_000,
            _ => 20_000,
        }
    }
}

/// A server that may reach the ranges in `allow`.
pub(crate) fn settings(allow: &str) -> String {
    format!("[webhooks]\nallow = [{allow}]\n")
}

const LATE: &str = "no full answer in time";

/// Endpoints that attack at the same time: enough to keep the test short, few enough to leave everybody a share of the
/// processor.
const AT_ONCE: usize = 8;
/// How late a timeout may be on a machine that is busy.
const LATE_MS_MAX: f64 = 5_000.0;
/// By how much the server may have grown at its peak. It grows by 4 to 6 MB.
const GROWTH_KB_MAX: u64 = 48 << 10;

/// Runs the attacks against a server with these settings, a few at a time, one message for each few.
pub(crate) fn run(more: &str, mut attacks: Vec<Attack>) {
    // Those that take their time take it together.
    attacks.sort_by_key(Attack::timeout_ms);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), more);
    let operator = Operator { server: &server, token: "" };
    open_lobby(&server);
    let before = peak_kb(&server);
    let mut wrong = Vec::new();
    for (round, attacks) in (1..).zip(attacks.chunks(AT_ONCE)) {
        for (number, attack) in attacks.iter().enumerate() {
            let mut endpoint = json!({ "url": attack.url, "retry": "tencent", "timeout_ms": attack.timeout_ms() });
            for (name, value) in attack.settings.as_object().into_iter().flatten() {
                endpoint[name] = value.clone();
            }
            operator.must("PUT", &of(&number.to_string(), ""), Some(&endpoint));
        }
        let seq = server.must("group_open_http_svc/send_group_msg", &group_msg(round, "hello"))["MsgSeq"].clone();
        let attempts = until("an attempt at each endpoint", || first_attempts(&operator, &seq, attacks.len()));
        for (number, (attack, attempt)) in attacks.iter().zip(&attempts).enumerate() {
            wrong.extend(judge(attack, attempt));
            operator.must("DELETE", &of(&number.to_string(), ""), None);
        }
    }
    assert!(wrong.is_empty(), "{} of {} attacks:\n{}", wrong.len(), attacks.len(), wrong.join("\n"));
    let grown = peak_kb(&server).saturating_sub(before);
    assert!(grown < GROWTH_KB_MAX, "the server grew by {grown} kB");
    server.stop();
}

/// The first attempt at each endpoint, once each has been tried.
fn first_attempts(operator: &Operator<'_>, seq: &Value, count: usize) -> Option<Vec<Value>> {
    let trail = operator.must("GET", &format!("/apps/{SDKAPPID}/rooms/lobby/messages/{seq}/trail"), None);
    let attempt = |number: usize| {
        let id = json!(number.to_string());
        let endpoint = trail["endpoints"].as_array()?.iter().find(|of| of["endpoint"] == id)?;
        endpoint["attempts"].get(0).cloned()
    };
    (0..count).map(attempt).collect()
}

/// What is wrong with an attempt, if anything.
fn judge(attack: &Attack, attempt: &Value) -> Option<String> {
    let (status, problem) = (&attempt["status"], attempt["problem"].as_str());
    let expected = match &attack.expect {
        Expect::Reason(text) => status.is_null() && problem == Some(text),
        Expect::Beginning(text) => status.is_null() && problem.is_some_and(|problem| problem.starts_with(text)),
        Expect::Ending(text) => status.is_null() && problem.is_some_and(|problem| problem.ends_with(text)),
        Expect::EndingEither(texts) => {
            status.is_null() && problem.is_some_and(|problem| texts.iter().any(|text| problem.ends_with(text)))
        }
        Expect::EndingOrLate(text) => {
            status.is_null() && problem.is_some_and(|problem| problem.ends_with(text) || problem.starts_with(LATE))
        }
        Expect::Status(code, remark) => status == code && problem == Some(remark),
        Expect::Delivered => status == 200 && problem.is_none(),
    };
    let took = attempt["timings"]["total_ms"].as_f64().expect("a time");
    let kept = attempt["answer"].as_str().expect("an answer").len();
    let in_time = took < f64::from(attack.timeout_ms()) + LATE_MS_MAX;
    let fine = expected && in_time && kept <= 1_024;
    let told = || format!("{status} {problem:?} after {took} ms, {kept} bytes");
    (!fine).then(|| format!("  {}: expected {:?}, got {}", attack.name, attack.expect, told()))
}

/// The most memory the server ever had.
fn peak_kb(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A good answer over HTTP/1.1.
pub(crate) fn good() -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{OK}", OK.len())
}
