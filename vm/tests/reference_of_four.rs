//! The wire of one requantization among four parties against a description of the protocol in another language, byte by byte,
//! pads and hashes included.
mod common;
use common::four::{SESSION, run};
use common::python::{hex, messages};
use common::tile::{Numbers, Tile};
use compiler::pipeline::Route;

#[test]
fn wire_equals_the_reference() {
    let mut rng = Numbers(1);
    for (n, width, two) in [(32, 28, false), (32, 20, true), (25, 30, true), (16, 3, false), (20, 14, true)] {
        let t = Tile::draw(&mut rng, n, width, two, 5);
        let p = t.program(Route::Circuit);
        let seeds = [0u8, 1, 2, 3].map(|i| [10 * i + n; 32]);
        let case = serde_json::json!({
            "program": ir::text::print(&p, false).expect("typed"), "inputs": [t.acc],
            "seeds": seeds.map(|s| hex(&s)), "session": hex(&SESSION), "inference": 1,
        });
        let Some(mut want) = messages("reference_rep4.py", &case) else { return };
        let (records, result) = run(&p, &t.acc, &seeds, None);
        assert_eq!(result, t.wanted(), "{t:?}");
        let sent = records.iter().filter(|r| !r.payload.is_empty());
        let mut got: Vec<_> = sent.map(|r| (r.round, r.from.0, r.to.0, hex(&r.payload))).collect();
        got.sort();
        want.sort();
        assert_eq!(got.len(), want.len(), "messages, {t:?}");
        for (g, w) in got.iter().zip(&want) {
            assert_eq!(g, w, "round {} from {} to {}, {t:?}", w.0, w.1, w.2);
        }
    }
}
