//! What the program is made of: the licences of its dependencies, and none of them twice. Works from
//! `Cargo.lock` and what cargo has downloaded already, without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The licences under which everything may be distributed together.
const LICENCES: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that are there in more than one version, and why that is borne.
const TWICE: [(&str, &str); 6] = [
    ("base64", "gix-transport and ureq stand one release apart"),
    ("bitflags", "version 1 is optional in a dependency, named in the lock file and not built"),
    ("defmt", "optional in dependencies, named in the lock file and not built"),
    ("getrandom", "ring and tempfile stand a release apart"),
    ("hashbrown", "dashmap, clru and indexmap, below gix and toml"),
    ("syn", "macros only: clap_derive has moved on before serde_derive"),
];

/// Crates with another licence, and why that is borne.
const EXCEPTIONS: [(&str, &str); 1] =
    [("uluru", "MPL-2.0 covers its own files only; it is used unchanged, below gix-pack")];

fn metadata() -> Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--all-features"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu", "--manifest-path", manifest])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The packages that the crates of the workspace need to run, without those for tests alone.
fn shipped(metadata: &Value) -> Vec<&Value> {
    let packages: BTreeMap<&str, &Value> =
        metadata["packages"].as_array().unwrap().iter().map(|p| (text(p, "id"), p)).collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (text(n, "id"), n))
        .collect();
    let is_test =
        |id: &&str| ["deploykit-testkit", "deploykit-bench"].contains(&text(packages[*id], "name"));
    let members = metadata["workspace_members"].as_array().unwrap().iter();
    let mut todo: Vec<&str> =
        members.map(|id| id.as_str().unwrap()).filter(|id| !is_test(id)).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                todo.push(text(dependency, "pkg"));
            }
        }
    }
    seen.into_iter().map(|id| packages[id]).collect()
}

/// Whether an SPDX expression leaves a choice that is allowed. Understands what crates use: `OR`,
/// `AND`, `/` for `OR`, and parentheses.
fn allowed(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let any = |part: &str| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim()));
    !flat.trim().is_empty() && flat.split(" AND ").all(any)
}

#[test]
fn every_dependency_has_a_licence_that_fits() {
    let metadata = metadata();
    let packages = shipped(&metadata);
    assert!(packages.len() > 100, "only {} packages were looked at", packages.len());
    let wrong: Vec<String> = packages
        .iter()
        .filter(|package| !allowed(text(package, "license")))
        .filter(|package| EXCEPTIONS.iter().all(|(name, _)| *name != text(package, "name")))
        .map(|package| format!("{}: {:?}", text(package, "name"), text(package, "license")))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_dependency_is_there_twice() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in shipped(&metadata) {
        versions.entry(text(package, "name")).or_default().push(text(package, "version"));
    }
    let twice: BTreeMap<_, _> = versions.into_iter().filter(|(_, found)| found.len() > 1).collect();
    let borne: BTreeSet<&str> = TWICE.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = twice.keys().copied().collect();
    assert_eq!(found, borne, "{twice:#?}");
}

#[test]
fn an_expression_with_no_allowed_choice_is_refused() {
    for expression in
        ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"]
    {
        assert!(allowed(expression), "{expression}");
    }
    for expression in ["", "GPL-3.0", "MIT AND GPL-3.0", "AGPL-3.0 OR GPL-3.0"] {
        assert!(!allowed(expression), "{expression}");
    }
}
