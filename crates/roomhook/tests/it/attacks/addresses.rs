//! Addresses that a webhook must not reach, in every dress; and URLs that are refused before anybody is asked.

use serde_json::json;

use super::{Attack, Expect, reason, run, settings};
use crate::{
    admin::{Operator, of},
    support::Server,
};

fn not_allowed(ip: &str, range: &str) -> Expect {
    let advice = "not allowed for webhooks; list its range under webhooks.allow to permit it";
    reason(&format!("address {ip} is {range} and {advice}"))
}

/// Host in a URL, the address it turns out to be, and why that one is refused.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("127.0.0.1", "127.0.0.1", "a loopback address"),
    ("127.0.0.1.", "127.0.0.1", "a loopback address"),
    ("2130706433", "127.0.0.1", "a loopback address"),
    ("0x7f.0.0.1", "127.0.0.1", "a loopback address"),
    ("0x7f000001", "127.0.0.1", "a loopback address"),
    ("0177.0.0.1", "127.0.0.1", "a loopback address"),
    ("017700000001", "127.0.0.1", "a loopback address"),
    ("127.1", "127.0.0.1", "a loopback address"),
    ("127.0.1", "127.0.0.1", "a loopback address"),
    ("0", "0.0.0.0", "unspecified"),
    ("0.0.0.0", "0.0.0.0", "unspecified"),
    ("169.254.169.254", "169.254.169.254", "link-local"),
    ("2852039166", "169.254.169.254", "link-local"),
    ("0xa9fea9fe", "169.254.169.254", "link-local"),
    ("168.63.129.16", "168.63.129.16", "a metadata service"),
    ("100.100.100.200", "100.100.100.200", "shared (carrier-grade NAT)"),
    ("192.0.0.192", "192.0.0.192", "reserved"),
    ("10.0.0.1", "10.0.0.1", "private"),
    ("172.16.0.1", "172.16.0.1", "private"),
    ("192.168.0.1", "192.168.0.1", "private"),
    ("198.18.0.1", "198.18.0.1", "for benchmarking"),
    ("224.0.0.1", "224.0.0.1", "multicast"),
    ("240.0.0.1", "240.0.0.1", "reserved"),
    ("255.255.255.255", "255.255.255.255", "broadcast"),
    ("[::]", "::", "unspecified"),
    ("[::1]", "::1", "a loopback address"),
    ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1", "a loopback address"),
    ("[::ffff:7f00:1]", "::ffff:127.0.0.1", "a loopback address"),
    ("[::127.0.0.1]", "::7f00:1", "a loopback address"),
    ("[::ffff:0:127.0.0.1]", "::ffff:0:7f00:1", "reserved"),
    ("[64:ff9b::127.0.0.1]", "64:ff9b::7f00:1", "a loopback address"),
    ("[64:ff9b:1::127.0.0.1]", "64:ff9b:1::7f00:1", "reserved"),
    ("[2002:7f00:1::]", "2002:7f00:1::", "a loopback address"),
    ("[2001:0:1::1]", "2001:0:1::1", "reserved"),
    ("[fe80::1]", "fe80::1", "link-local"),
    ("[fec0::1]", "fec0::1", "private"),
    ("[fd00:ec2::254]", "fd00:ec2::254", "private"),
    ("[ff02::1]", "ff02::1", "multicast"),
    ("[3fff::1]", "3fff::1", "for documentation"),
];

#[test]
fn forbidden_addresses_are_refused_in_every_dress_and_the_trail_says_why() {
    let attack = |(host, ip, range): &(&str, &str, &str)| {
        Attack::new(host, format!("http://{host}:81/"), not_allowed(ip, range))
    };
    let mut attacks: Vec<Attack> = FORBIDDEN.iter().map(attack).collect();
    // The rest is the system's to say.
    let nowhere = Expect::Beginning("cannot look up nowhere.invalid: ");
    attacks.push(Attack::new("a name that is none", "http://nowhere.invalid/".into(), nowhere));
    run(&settings(""), attacks);
}

#[test]
fn what_is_no_plain_url_is_refused_when_it_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), "");
    let operator = Operator { server: &server, token: "" };
    for url in [
        "",
        "hook.example",
        "//hook.example/",
        "ftp://hook.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:25/_HELO",
        "http://",
        "http:///hook",
        "http://?a",
        "http://user@hook.example/",
        "http://user:password@hook.example/",
        "http://hook.example@127.0.0.1/",
        "http://hook.example\\@127.0.0.1/",
        "http://hook.example#@127.0.0.1/",
        "http://hook.example/#fragment",
        "http://hook.example/a b",
        "http://hook.example/\r\nX-Injected: yes",
        "http://hook.example/\0",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[127.0.0.1]/",
        "http://[::1/",
        "http://[::1]x/",
        "http://hook.example:0/",
        "http://hook.example:65536/",
        "http://hook.example:+80/",
        "http://hook.example:/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://%31%32%37.0.0.1/",
        "http://-hook.example/",
        "http://hook..example/",
    ] {
        let told = operator.code("PUT", &of("odd", ""), Some(&json!({ "url": url })));
        // What the API's document rules out already is a bad request; the rest looks like a URL and is none.
        let refusals = [(400, "bad_request".to_owned()), (422, "unusable".to_owned())];
        assert!(refusals.contains(&told), "{url:?}: {told:?}");
        let set = json!({ "Url": url, "CallbackCommandList": ["Group.CallbackAfterSendMsg"] });
        let answer = server.call("live_config/set_callback", &set);
        assert_ne!(answer["ErrorCode"], 0, "{url:?}: {answer}");
    }
    server.stop();
}
