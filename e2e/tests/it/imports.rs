//! The house's import table (ARCHITECTURE.md), checked against what cargo knows. Not a server test, but the only crate that looks at all
//! others from outside is this one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use roomhook_e2e::binary::project;

/// Who may import whom of ours. `None`: this crate stands on top and may import everything but another such crate.
const IMPORTS: &[(&str, Option<&[&str]>)] = &[
    ("roomhook", None),
    ("roomhook-sim", None),
    ("roomhook-edge", Some(&["roomhook-shard", "roomhook-room", "roomhook-protocol", "roomhook-centrifuge"])),
    ("roomhook-hooks", Some(&["roomhook-log", "roomhook-room", "roomhook-protocol"])),
    ("roomhook-shard", Some(&["roomhook-log", "roomhook-room"])),
    ("roomhook-log-disk", Some(&["roomhook-log", "roomhook-mirror"])),
    ("roomhook-mirror", Some(&["roomhook-log"])),
    ("roomhook-room", Some(&[])),
    ("roomhook-log", Some(&[])),
    ("roomhook-protocol", Some(&[])),
    ("roomhook-centrifuge", Some(&[])),
    ("roomhook-receiver", Some(&["roomhook-protocol"])),
    // Whoever is outside the house uses what is published, like any app backend.
    ("roomhook-e2e", Some(&["roomhook-protocol", "roomhook-receiver", "roomhook-centrifuge"])),
];

/// What examples may import of ours.
const EXAMPLE_IMPORTS: &[&str] = &["roomhook-protocol", "roomhook-receiver", "roomhook-centrifuge"];

/// What tests of a crate may import on top of the table, each with its reason.
const TEST_IMPORTS: &[(&str, &str, &str)] = &[
    ("roomhook-edge", "roomhook-log", "its tests run real shards on the memory log"),
    ("roomhook-e2e", "roomhook-log", "what a store promised is asked of the store alone, hundreds of times a minute"),
    ("roomhook-e2e", "roomhook-log-disk", "as above: the process whose power is cut has it alone"),
];

/// Crates of others that must not be reached, not even through others, and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    (
        "roomhook-room",
        &["tokio", "rand", "getrandom", "fastrand", "chrono", "time", "jiff", "serde_json"],
        "a fold that reads the world cannot be replayed",
    ),
    ("roomhook-log", &["serde_json", "axum", "hyper"], "a log holds bytes"),
    ("roomhook-log-disk", &["serde_json", "axum", "hyper"], "a log holds bytes"),
    ("roomhook-mirror", &["serde_json", "axum", "hyper"], "a mirror holds bytes"),
    ("roomhook-shard", &["axum", "hyper", "serde_json"], "the owner knows neither JSON nor sockets"),
    ("roomhook-protocol", &["tokio", "axum", "hyper"], "the wire types do no I/O"),
    ("roomhook-centrifuge", &["tokio", "axum", "hyper"], "the codec does no I/O"),
];

fn metadata() -> Result<Metadata> {
    MetadataCommand::new().current_dir(project()).exec().context("asking cargo for the workspace")
}

fn ours(package: &Package) -> bool {
    package.name.starts_with("roomhook")
}

/// The crates of ours that `package` imports, for its own code (and build script) or for its tests.
fn imports(package: &Package, for_tests: bool) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(move |dependency| (dependency.kind == DependencyKind::Development) == for_tests)
        .map(|dependency| dependency.name.as_str())
        .filter(|name| name.starts_with("roomhook"))
}

fn allows(package: &Package, import: &str) -> bool {
    if package.manifest_path.components().any(|part| part.as_str() == "examples") {
        return EXAMPLE_IMPORTS.contains(&import);
    }
    match IMPORTS.iter().find(|(name, _)| *name == package.name.as_str()) {
        Some((_, Some(list))) => list.contains(&import),
        Some((_, None)) => !IMPORTS.iter().any(|(name, list)| *name == import && list.is_none()),
        None => false,
    }
}

#[test]
fn imports_point_down_only() -> Result<()> {
    let metadata = metadata()?;
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let known = IMPORTS.iter().any(|(name, _)| *name == package.name.as_str());
        let example = package.manifest_path.components().any(|part| part.as_str() == "examples");
        if !known && !example {
            wrong.push(format!("{} is not in the import table: add it, with what it may import", package.name));
        }
        for import in imports(package, false).filter(|import| !allows(package, import)) {
            wrong.push(format!("{} imports {import}", package.name));
        }
        for import in imports(package, true).filter(|import| !allows(package, import)) {
            if !TEST_IMPORTS.iter().any(|(name, exempt, _)| *name == package.name.as_str() && *exempt == import) {
                wrong.push(format!("tests of {} import {import}, which TEST_IMPORTS does not know", package.name));
            }
        }
    }
    for (name, import, _) in TEST_IMPORTS {
        let used = metadata.workspace_packages().into_iter().any(|package| {
            package.name.as_str() == *name && imports(package, true).any(|dependency| dependency == *import)
        });
        if !used {
            wrong.push(format!("tests of {name} do not import {import} any longer: take it out of TEST_IMPORTS"));
        }
    }
    assert!(wrong.is_empty(), "against the import table:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn published_crates_never_depend_on_internal_ones() -> Result<()> {
    let metadata = metadata()?;
    let published: BTreeSet<_> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.publish.is_none())
        .map(|package| package.name.as_str())
        .collect();
    assert!(published.contains("roomhook-receiver"), "lib/receiver is published: {published:?}");
    for package in metadata.workspace_packages() {
        let in_lib = package.manifest_path.starts_with(metadata.workspace_root.join("lib"));
        assert_eq!(
            in_lib,
            published.contains(package.name.as_str()),
            "{}: what lies in lib/ is published, nothing else",
            package.name
        );
        if in_lib {
            for import in imports(package, false) {
                assert!(published.contains(import), "{} is published but imports {import}", package.name);
            }
        }
    }
    Ok(())
}

#[test]
fn pure_crates_cannot_reach_the_world() -> Result<()> {
    let metadata = metadata()?;
    let reach = reachable(&metadata)?;
    let mut wrong = Vec::new();
    for (name, banned, why) in BANNED {
        let Some(reached) = reach.get(*name) else { continue };
        wrong.extend(
            banned.iter().filter(|ban| reached.contains(**ban)).map(|ban| format!("{name} reaches {ban}, but {why}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// For each crate of ours, every crate that its code (not its tests) is linked with.
fn reachable(metadata: &Metadata) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package.name.to_string())).collect();
    let mut all = BTreeMap::new();
    for package in metadata.workspace_packages().into_iter().filter(|package| ours(package)) {
        let mut reached = BTreeSet::new();
        let mut open = vec![&package.id];
        while let Some(id) = open.pop() {
            let node = nodes.get(id).context("a package that was not resolved")?;
            for dependency in &node.deps {
                let linked = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
                if linked && reached.insert(names.get(&dependency.pkg).context("a package without a name")?.clone()) {
                    open.push(&dependency.pkg);
                }
            }
        }
        all.insert(package.name.to_string(), reached);
    }
    Ok(all)
}
