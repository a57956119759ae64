//! The session in the README: every command of the section about rounds is run and prints what stands there.
//! `QNN_BLESS=1` rewrites it.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HEADING: &str = "## Why does this layer take so many rounds\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a command prints on both streams, from the root of the repository; `/tmp` is a directory of the test.
fn output(command: &str, tmp: &str) -> String {
    let line = command.replace("/tmp/", &format!("{tmp}/"));
    let bin = Path::new(env!("CARGO_BIN_EXE_qnnc")).parent().expect("in a directory").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(bin).chain(std::env::split_paths(&path));
    let out = Command::new("sh")
        .args(["-c", &line])
        .current_dir(root())
        .env("PATH", std::env::join_paths(paths).expect("no colon in it"))
        .output()
        .expect("sh runs");
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    let text = [out.stdout, out.stderr].concat();
    String::from_utf8(text).expect("UTF-8").replace(&format!("{tmp}/"), "/tmp/")
}

/// The section with the outputs of now.
fn played(section: &str, tmp: &str) -> (String, usize) {
    let mut now = String::new();
    let (mut inside, mut commands) = (false, 0);
    for line in section.lines() {
        match (inside, line.strip_prefix("$ ")) {
            (false, _) => inside = line == "```console",
            (true, Some(command)) => {
                now += &format!("{line}\n{}", output(command, tmp));
                commands += 1;
                continue;
            }
            (true, None) if line == "```" => inside = false,
            // What was printed before.
            (true, None) => continue,
        }
        now += line;
        now.push('\n');
    }
    (now, commands)
}

#[test]
fn the_session_about_rounds_is_real() {
    let file = root().join("README.md");
    let readme = fs::read_to_string(&file).expect("part of the repository");
    let start = readme.find(HEADING).expect("the section") + HEADING.len();
    let end = start + readme[start..].find("\n## ").expect("another section") + 1;
    let tmp = std::env::temp_dir().join(format!("qnnc-readme-{}", std::process::id()));
    fs::create_dir_all(&tmp).expect("writable");
    let (now, commands) = played(&readme[start..end], tmp.to_str().expect("UTF-8"));
    let _ = fs::remove_dir_all(&tmp);
    assert!(commands >= 5, "only {commands} commands");
    if std::env::var_os("QNN_BLESS").is_some() {
        fs::write(&file, format!("{}{now}{}", &readme[..start], &readme[end..])).expect("writable");
        return;
    }
    assert_eq!(readme[start..end], now, "the README shows another output; QNN_BLESS=1 rewrites it");
}
