//! `qnnc ops --costs`.
use super::check::refusal;
use super::failure::Failure;
use super::{print, print_json};
use compiler::price::{Price, rows};
use serde_json::json;

/// Prints what operators cost.
pub fn prices(as_json: bool) -> Result<u8, Failure> {
    let rows = rows().map_err(|e| refusal(&[], e).failure())?;
    if as_json {
        let price = |p: &Price| json!({ "rounds": p.rounds, "bits": p.bits });
        let row = |r: &compiler::price::Row| {
            let [dealer, boolean] = [price(&r.prices[0]), price(&r.prices[1])];
            json!({ "operators": r.operators, "example": r.what, "dealer": dealer, "boolean": boolean })
        };
        let list: Vec<_> = rows.iter().map(row).collect();
        print_json(&json!({ "schema": 1, "protocol": "rep3", "operators": list }))?;
        return Ok(0);
    }
    let head = ["operators", "example", "dealer route:", "Boolean route:"];
    let mut text = format!("{:<41} {:<26} {:>21} {:>21}\n", head[0], head[1], head[2], head[3]);
    text += &format!("{:<41} {:<26} {:>10} {:>10} {:>10} {:>10}\n", "", "", "rounds", "bits", "rounds", "bits");
    for r in &rows {
        text += &format!("{:<41} {:<26}", r.operators, r.what);
        r.prices.iter().for_each(|p| text += &format!(" {:>10} {:>10.1}", p.rounds, p.bits));
        text.push('\n');
    }
    print(&text)?;
    Ok(0)
}
