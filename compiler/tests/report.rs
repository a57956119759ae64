//! The page of `qnnc report` in a real browser: it is complete, nothing overlaps, its controls work. Skipped where there is
//! no Chromium.
use std::path::{Path, PathBuf};
use std::process::Command;

fn testdata(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(file)
}

fn qnnc(args: &[&Path]) {
    let out = Command::new(env!("CARGO_BIN_EXE_qnnc")).args(args).output().expect("the binary runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Numbers as a run gives them, of the right program.
fn statistics(program: &Path) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_qnnc")).args(["inspect", "--json"]).arg(program).output();
    let inspected: serde_json::Value =
        serde_json::from_slice(&out.expect("the binary runs").stdout).expect("one JSON object");
    let layers = inspected["layers"].as_array().expect("layers").iter().map(|l| {
        let rounds = l["rounds"].as_array().map_or(0, Vec::len);
        serde_json::json!({
            "rounds": rounds, "payload_bytes": l["payload_bytes"], "compute_s": 0.001, "wait_s": 0.002,
        })
    });
    serde_json::json!({
        "program": inspected["program"],
        "rounds": { "measured": inspected["rounds"] },
        "payload_bytes": { "measured": inspected["payload_bytes"] },
        "seconds": { "inference": 0.25 },
        "layers": layers.collect::<Vec<_>>(),
    })
    .to_string()
}

fn browser() -> Option<&'static str> {
    let found = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(found)
}

/// What the driver finds on a page.
fn findings(browser: &str, page: &Path, dir: &Path, width: u32) -> String {
    let out = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("--window-size={width},2400"))
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser runs");
    let dom = String::from_utf8_lossy(&out.stdout).into_owned();
    let after = dom.split("<pre id=\"findings\">").nth(1).unwrap_or_else(|| panic!("the driver did not end: {dom}"));
    after.split("</pre>").next().unwrap_or_default().to_owned()
}

#[test]
fn the_page_works_in_a_browser() {
    let dir = std::env::temp_dir().join(format!("qnnc-report-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("writable");
    let program = dir.join("digits.mpcb");
    qnnc(&[&testdata("digits.tflite"), Path::new("-o"), &program]);
    let run = dir.join("run.json");
    std::fs::write(&run, statistics(&program)).expect("writable");
    let (plain, full) = (dir.join("plain.html"), dir.join("full.html"));
    qnnc(&[Path::new("report"), &program, Path::new("-o"), &plain]);
    qnnc(&[Path::new("report"), &program, Path::new("--run"), &run, Path::new("-o"), &full]);
    let driver = format!("<script>{}</script></body>", include_str!("report_driver.js"));
    for page in [&plain, &full] {
        let text = std::fs::read_to_string(page).expect("a page");
        assert!(!text.contains("src=") && !text.contains("href=") && !text.contains("https:"), "loads something");
        assert!(text.contains("\"rounds\":"), "no data");
        std::fs::write(page, text.replace("</body>", &driver)).expect("writable");
    }
    match browser() {
        None => println!("skipped: no Chromium (Debian: `apt-get install chromium`)"),
        Some(browser) => {
            for (page, width) in [(&plain, 1280), (&full, 1280), (&full, 700)] {
                assert_eq!(findings(browser, page, &dir, width), "none", "{} at {width}", page.display());
            }
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
}
