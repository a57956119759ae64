//! The wire of a check against a description in another language.
use super::element::tests::Words;
use super::tests::{Claim, Parts, conv, honest_of};
use super::*;
use crate::data::Data;
use crate::kernels::linear::Conv;
use ir::Domain;

/// The claims as the reference reads them.
fn case(chunks: &[Vec<Claim>], session: u64) -> String {
    let numbers = |d: &Data| match d {
        Data::W32(v) => format!("{v:?}"),
        Data::W64(v) | Data::Planes { words: v, .. } => format!("{v:?}"),
    };
    let parts = |p: &Parts| format!("[{}, {}, {}]", numbers(&p[0]), numbers(&p[1]), numbers(&p[2]));
    let claim = |claim: &Claim| match claim {
        Claim::Each(domain, p) => {
            let bits = match domain {
                Domain::Bits(_) => "null".into(),
                Domain::Ring(k) => k.to_string(),
            };
            let pairs = p.as_chunks::<2>().0.iter().map(|[a, b]| format!("[{}, {}]", parts(a), parts(b)));
            let terms = pairs.collect::<Vec<_>>().join(", ");
            let (lanes, c) = (p[0][0].len(), parts(&p[p.len() - 1]));
            format!(r#"{{"bits": {bits}, "lanes": {lanes}, "terms": [{terms}], "c": {c}}}"#)
        }
        Claim::Linear(layout, g, bits, p) => {
            let conv = format!(
                r#"{{"batch": {}, "in_h": {}, "in_w": {}, "in_c": {}, "out_h": {}, "out_w": {}, "out_c": {}, "kernel": {:?},
                "stride": {:?}, "pad": {:?}, "groups": {}, "depthwise": {}}}"#,
                g.batch,
                g.in_h,
                g.in_w,
                g.in_c,
                g.out_h,
                g.out_w,
                g.out_c,
                g.kernel,
                g.stride,
                g.pad,
                g.groups,
                *layout == Layout::Depthwise
            );
            let (x, w, c) = (parts(&p[0]), parts(&p[1]), parts(&p[2]));
            format!(r#"{{"bits": {bits}, "conv": {conv}, "x": {x}, "w": {w}, "c": {c}}}"#)
        }
    };
    let list = |claims: &Vec<Claim>| format!("[{}]", claims.iter().map(claim).collect::<Vec<_>>().join(", "));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let seeds = [1u8, 2, 3].map(|s| format!("\"{}\"", hex(&[s; 32]))).join(", ");
    format!(
        r#"{{"seeds": [{seeds}], "session": "{}", "inference": 1, "instruction": 2, "chunks": [{}]}}"#,
        hex(&session.to_le_bytes()),
        chunks.iter().map(list).collect::<Vec<_>>().join(", ")
    )
}

/// Every message equals that of a description in another language, byte for byte.
#[test]
fn wire_equals_the_reference() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut rng = Words(10);
    let all: [Vec<Vec<Claim>>; 4] = [
        vec![vec![Claim::sum(&mut rng, Domain::Bits(2), 70, 3), Claim::each(&mut rng, Domain::Bits(1), 300)]],
        vec![vec![
            Claim::sum(&mut rng, Domain::Ring(9), 3, 4),
            Claim::linear(&mut rng, Layout::Depthwise, conv(2, 1, 2, 3, 2, 1), 32),
        ]],
        vec![vec![
            Claim::each(&mut rng, Domain::Bits(1), 3),
            Claim::each(&mut rng, Domain::Ring(64), 3),
            Claim::linear(&mut rng, Layout::Convolution, conv(2, 2, 2, 2, 1, 2), 25),
            Claim::linear(&mut rng, Layout::Convolution, Conv::matmul(2, 3, 5), 40),
        ]],
        // Two early checks and the last.
        vec![
            vec![
                Claim::sum(&mut rng, Domain::Bits(2), 70, 3),
                Claim::linear(&mut rng, Layout::Convolution, Conv::matmul(1, 3, 2), 40),
            ],
            vec![
                Claim::each(&mut rng, Domain::Bits(1), 70),
                Claim::each(&mut rng, Domain::Ring(9), 3),
                Claim::linear(&mut rng, Layout::Depthwise, conv(2, 1, 2, 3, 2, 1), 32),
            ],
            vec![Claim::linear(&mut rng, Layout::Convolution, conv(2, 2, 2, 2, 1, 2), 25)],
        ],
    ];
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/tools/reference_check.py");
    for (i, chunks) in all.iter().enumerate() {
        let session = 50 + i as u64;
        let run = Command::new("python3").arg(script).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = run else {
            println!("skipped: no python3");
            return;
        };
        child.stdin.take().expect("piped").write_all(case(chunks, session).as_bytes()).expect("the reference reads");
        let out = child.wait_with_output().expect("the reference ends");
        assert!(out.status.success(), "the reference failed");
        let mut wire = honest_of(chunks, session).wire;
        wire.sort();
        let hex = |m: &[u8]| m.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let got: Vec<String> = wire.iter().map(|(s, f, t, m)| format!("[{s}, {f}, {t}, \"{}\"]", hex(m))).collect();
        let want = String::from_utf8(out.stdout).expect("text");
        let want = want.trim().trim_start_matches('[').trim_end_matches(']');
        let want: Vec<String> = want.split("], [").map(|m| format!("[{m}]")).collect();
        assert_eq!(got.len(), want.len(), "case {i}");
        for (got, want) in got.iter().zip(&want) {
            assert!(got == want, "case {i}: {} differs", &want[..12]);
        }
    }
}
