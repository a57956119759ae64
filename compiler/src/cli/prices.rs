//! `qnnc ops --costs`.
use super::check::refusal;
use super::failure::Failure;
use super::{print, print_json};
use compiler::pipeline::Protocol;
use compiler::price::{Price, Row, routes, rows};
use serde_json::{Value, json};

/// Prints what operators cost by a protocol.
pub fn prices(protocol: Protocol, as_json: bool) -> Result<u8, Failure> {
    let rows = rows(protocol).map_err(|e| refusal(&[], e).failure())?;
    let facts = protocol.facts();
    let ahead = facts.scheme.additive;
    if as_json {
        let price = |p: &Option<Price>| match p {
            None => Value::Null,
            Some(p) if ahead => json!({ "rounds": p.rounds, "bits": p.bits, "ahead_bits": p.ahead }),
            Some(p) => json!({ "rounds": p.rounds, "bits": p.bits }),
        };
        let row = |r: &Row| {
            let mut row = json!({ "operators": r.operators, "example": r.what });
            routes(protocol).iter().zip(&r.prices).for_each(|((name, _), p)| row[*name] = price(p));
            row
        };
        let list: Vec<_> = rows.iter().map(row).collect();
        print_json(
            &json!({ "schema": 1, "protocol": facts.name, "parties": facts.scheme.parties, "operators": list }),
        )?;
        return Ok(0);
    }
    let title = |name: &str| match name {
        "dealer" => "dealer route:".to_owned(),
        "boolean" => "Boolean route:".to_owned(),
        _ => format!("{}, {} parties:", facts.name, facts.scheme.parties),
    };
    let columns = ["rounds", "bits", "bits ahead"];
    let columns = &columns[..if ahead { 3 } else { 2 }];
    let wide = 11 * columns.len() - 1;
    let mut text = format!("{:<41} {:<26}", "operators", "example");
    routes(protocol).iter().for_each(|(name, _)| text += &format!(" {:>wide$}", title(name)));
    text += &format!("\n{:<41} {:<26}", "", "");
    routes(protocol).iter().flat_map(|_| columns).for_each(|name| text += &format!(" {name:>10}"));
    text.push('\n');
    for r in &rows {
        text += &format!("{:<41} {:<26}", r.operators, r.what);
        for p in &r.prices {
            let cells = match p {
                None => ["-"; 3].map(str::to_owned),
                Some(p) => [p.rounds.to_string(), format!("{:.1}", p.bits), format!("{:.1}", p.ahead)],
            };
            cells[..columns.len()].iter().for_each(|cell| text += &format!(" {cell:>10}"));
        }
        text.push('\n');
    }
    if rows.iter().any(|r| r.prices.iter().any(Option::is_none)) {
        text += "-: not offered by this protocol\n";
    }
    if facts.scheme.checked {
        text += "the check of all products of a program comes on top, once, before it opens anything\n";
    }
    print(&text)?;
    Ok(0)
}
