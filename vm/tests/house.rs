//! The workspace keeps its shape: who may use whom, and what stands at the top.
use std::collections::BTreeSet;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Members of the workspace that `section` of a member's manifest names.
fn edges(member: &str, section: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join(member).join("Cargo.toml")).expect("manifest");
    let manifest: toml::Table = text.parse().expect("valid manifest");
    let ours = ["ir", "compiler", "runtime-protocols", "vm"];
    let names = manifest.get(section).and_then(|t| t.as_table()).map(|t| t.keys().cloned().collect::<Vec<_>>());
    names.unwrap_or_default().into_iter().filter(|n| ours.contains(&n.as_str())).collect()
}

#[test]
fn members_use_only_what_they_may() {
    let allowed: [(&str, &[&str], &[&str]); 4] = [
        ("ir", &[], &[]),
        ("compiler", &["ir"], &[]),
        ("runtime-protocols", &["ir"], &[]),
        ("vm", &["ir", "runtime-protocols"], &["compiler"]),
    ];
    for (member, normal, dev) in allowed {
        let set = |list: &[&str]| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(edges(member, "dependencies"), set(normal), "{member}");
        assert_eq!(edges(member, "dev-dependencies"), set(dev), "{member}, in tests");
        assert!(edges(member, "build-dependencies").is_empty(), "{member}, at build time");
    }
}

/// The targets compile the command line once more, with what it uses.
#[test]
fn fuzz_targets_have_what_the_command_line_uses() {
    let table = |path: &str| -> toml::Table {
        let text = std::fs::read_to_string(root().join(path)).expect("manifest");
        text.parse::<toml::Table>().expect("valid manifest")["dependencies"].as_table().expect("dependencies").clone()
    };
    let sources = std::fs::read_dir(root().join("vm/src/cli")).expect("the command line");
    let sources: String =
        sources.map(|entry| std::fs::read_to_string(entry.expect("entry").path()).expect("source")).collect();
    let fuzz = table("vm/fuzz/Cargo.toml");
    let used = |name: &str| sources.contains(&format!("{}::", name.replace('-', "_")));
    let missing: Vec<_> =
        table("vm/Cargo.toml").keys().filter(|n| used(n) && !fuzz.contains_key(*n)).cloned().collect();
    assert!(missing.is_empty(), "vm/fuzz/Cargo.toml lacks {missing:?}");
}

#[test]
fn top_level_holds_the_named_parts() {
    let known: BTreeSet<&str> = [
        ".ci",
        ".gitattributes",
        ".gitignore",
        ".dockerignore",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "SECURITY.md",
        "compiler",
        "deploy",
        "docs",
        "ir",
        "runtime-protocols",
        "rustfmt.toml",
        "testdata",
        "vm",
    ]
    .into();
    let local = [".git", "target"];
    for entry in std::fs::read_dir(root()).expect("workspace") {
        let name = entry.expect("entry").file_name().into_string().expect("UTF-8");
        assert!(known.contains(name.as_str()) || local.contains(&name.as_str()), "`{name}` has no place at the top");
    }
}
