//! The generated reference page is the one that is checked in.

#[test]
fn op_table_page_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ops.md");
    let page = ir::ops::reference_page();
    if std::env::var_os("QNN_BLESS").is_some() {
        std::fs::write(&path, &page).expect("page");
    }
    let kept = std::fs::read_to_string(&path).expect("docs/ops.md");
    assert!(kept == page, "docs/ops.md is old: QNN_BLESS=1 cargo test -p ir, and review the diff");
}
