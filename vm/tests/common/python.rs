//! Descriptions of protocols in another language: they read a case and print messages.
#![allow(dead_code, missing_docs, reason = "each test file uses a part")]
use super::testdata;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        write!(s, "{b:02x}").expect("a string takes it");
        s
    })
}

/// Messages by a script of `testdata/tools`: round, sender, receiver, bytes in hexadecimal. None, said, where there is no Python.
pub fn messages(script: &str, case: &serde_json::Value) -> Option<Vec<(u32, u8, u8, String)>> {
    let script = testdata("../tools").join(script);
    let mut command = Command::new("python3");
    let child = command.arg(script).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        println!("skipped: no python3");
        return None;
    };
    child.stdin.take().expect("piped").write_all(case.to_string().as_bytes()).expect("the reference reads");
    let out = child.wait_with_output().expect("the reference ends");
    assert!(out.status.success(), "the reference failed on {case}");
    Some(serde_json::from_slice(&out.stdout).expect("messages"))
}
