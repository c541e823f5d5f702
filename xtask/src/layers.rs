//! A crate uses lower floors only. The floors are those of ARCHITECTURE.md; a new crate is entered here first.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// The crates of each floor, from the ground up, by folder name.
const FLOORS: [&[&str]; 6] = [
    &["core", "follow"],
    &["config", "durable", "expr", "http1", "identity", "lists", "net", "observe", "store", "transform", "waf"],
    &["compose", "files", "governance", "policies", "registry"],
    &["plan", "upstream"],
    &["admin", "cluster", "engine"],
    &["tollgate"],
];

/// Edges between neighbours that are allowed all the same: (from, to).
const NEIGHBOURS: [(&str, &str); 2] = [("policies", "governance"), ("follow", "core")];

/// Crates beside the house: they may use every floor, and are used in tests only.
const ASIDE: [&str; 2] = ["testkit", "xtask"];

/// Reads the workspace's crates from cargo and names every edge that the floors forbid.
///
/// # Errors
/// When cargo cannot say what the workspace is made of.
pub(crate) fn check() -> Result<u8> {
    let output = shell::cargo(&["metadata", "--format-version", "1", "--no-deps"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let crates = read(&serde_json::from_slice(&output.stdout)?)?;
    let faults = faults(&crates);
    faults.iter().for_each(|fault| shell::complain(&format!("error: {fault}")));
    Ok(u8::from(!faults.is_empty()))
}

/// One crate of the workspace and those of its dependencies that live here too.
#[derive(Debug)]
struct Member {
    name: String,
    uses: Vec<Use>,
}

#[derive(Debug)]
struct Use {
    name: String,
    when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Part of what is built, or needed to build it.
    Always,
    /// A dev-dependency.
    InTests,
}

/// Takes the crates and their edges from `cargo metadata --no-deps`.
fn read(metadata: &Value) -> Result<Vec<Member>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> Result<Member> {
    let name = short(&package["name"])?;
    let dependencies = package["dependencies"].as_array().context("a package without a list of dependencies")?;
    // Only our own crates are named by path.
    let ours = dependencies.iter().filter(|dependency| dependency["path"].is_string());
    let uses = ours.map(|dependency| {
        let when = if dependency["kind"] == "dev" { When::InTests } else { When::Always };
        Ok(Use { name: short(&dependency["name"])?, when })
    });
    Ok(Member { name, uses: uses.collect::<Result<_>>()? })
}

/// The folder name: crates are called `tollgate-` and their folder.
fn short(name: &Value) -> Result<String> {
    let name = name.as_str().context("a package without a name")?;
    Ok(name.strip_prefix("tollgate-").unwrap_or(name).to_owned())
}

/// Every edge and every crate that the floors do not allow, in words.
fn faults(crates: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    for member in crates {
        if place(&member.name).is_none() {
            faults.push(format!("{} has no floor: enter it in xtask/src/layers.rs", member.name));
        }
        faults.extend(member.uses.iter().filter_map(|used| fault(&member.name, used)));
    }
    faults
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Floor(usize),
    Aside,
}

fn place(name: &str) -> Option<Place> {
    if ASIDE.contains(&name) {
        return Some(Place::Aside);
    }
    FLOORS.iter().position(|floor| floor.contains(&name)).map(Place::Floor)
}

/// What is wrong with the edge from `from` to `used`, if anything. Crates without a place are reported elsewhere.
fn fault(from: &str, used: &Use) -> Option<String> {
    let to = used.name.as_str();
    match (place(from)?, place(to)?) {
        (Place::Aside, _) => None,
        (Place::Floor(_), Place::Aside) if used.when == When::InTests => None,
        (Place::Floor(_), Place::Aside) => {
            Some(format!("{from} -> {to}: {to} stands aside and may be a dev-dependency only"))
        }
        (Place::Floor(above), Place::Floor(below)) if below < above => None,
        (Place::Floor(_), Place::Floor(_)) if NEIGHBOURS.contains(&(from, to)) => None,
        (Place::Floor(above), Place::Floor(below)) => {
            let allowed = allowed(from, above);
            Some(format!("{from} -> {to}: {from} is on floor {above} and {to} on floor {below}; allowed: {allowed}"))
        }
    }
}

fn allowed(from: &str, floor: usize) -> String {
    let lower = FLOORS.iter().take(floor).flat_map(|names| names.iter().copied());
    let neighbours = NEIGHBOURS.iter().filter(|(user, _)| *user == from).map(|(_, used)| *used);
    let names: Vec<&str> = lower.chain(neighbours).collect();
    if names.is_empty() { "no other crate".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A workspace of one crate with one edge of our own and one to the outside.
    fn graph(from: &str, to: &str, kind: Value) -> Vec<Member> {
        read(&json!({ "packages": [{ "name": from, "dependencies": [
            { "name": "bytes", "kind": null },
            { "name": to, "kind": kind, "path": "/somewhere" },
        ]}]}))
        .unwrap()
    }

    fn complaint(from: &str, to: &str, kind: Value) -> String {
        faults(&graph(from, to, kind)).join("\n")
    }

    #[test]
    fn lower_floors_may_be_used() {
        assert_eq!(complaint("tollgate", "tollgate-core", Value::Null), "");
        assert_eq!(complaint("tollgate-engine", "tollgate-upstream", Value::Null), "");
    }

    #[test]
    fn an_edge_upwards_is_refused_with_both_floors_and_what_is_allowed() {
        assert_eq!(
            complaint("tollgate-config", "tollgate-plan", Value::Null),
            "config -> plan: config is on floor 1 and plan on floor 3; allowed: core, follow"
        );
        assert_eq!(
            complaint("tollgate-core", "tollgate-config", Value::Null),
            "core -> config: core is on floor 0 and config on floor 1; allowed: no other crate"
        );
    }

    #[test]
    fn an_edge_upwards_is_refused_in_tests_and_build_scripts_too() {
        assert!(complaint("tollgate-config", "tollgate-plan", json!("dev")).starts_with("config -> plan"));
        assert!(complaint("tollgate-config", "tollgate-plan", json!("build")).starts_with("config -> plan"));
    }

    #[test]
    fn neighbours_are_refused_but_for_the_named_edge() {
        assert!(complaint("tollgate-plan", "tollgate-upstream", Value::Null).starts_with("plan -> upstream"));
        assert!(complaint("tollgate-governance", "tollgate-policies", Value::Null).starts_with("governance ->"));
        assert_eq!(complaint("tollgate-policies", "tollgate-governance", Value::Null), "");
    }

    #[test]
    fn crates_aside_are_for_tests_only() {
        assert_eq!(complaint("tollgate-core", "tollgate-testkit", json!("dev")), "");
        assert_eq!(complaint("tollgate-testkit", "tollgate-plan", Value::Null), "");
        assert_eq!(
            complaint("tollgate-core", "tollgate-testkit", Value::Null),
            "core -> testkit: testkit stands aside and may be a dev-dependency only"
        );
    }

    #[test]
    fn a_crate_without_a_floor_is_refused() {
        let complaint = complaint("tollgate-attic", "tollgate-core", Value::Null);
        assert_eq!(complaint, "attic has no floor: enter it in xtask/src/layers.rs");
    }

    #[test]
    fn no_crate_stands_on_two_floors() {
        let mut names: Vec<&str> = FLOORS.into_iter().flatten().copied().chain(ASIDE).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
