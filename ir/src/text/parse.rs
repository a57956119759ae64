//! Reads the text form. Hostile text gives errors, never a panic; what is kept is in proportion to the text.
//!
//! After an error the next line is read, so that one run shows every error. Rules V1 and V2 are checked on the way: the
//! text says how many results an instruction has, so that one without a type does not hide what follows it.
use super::lex::{Token, Words, shown};
use super::{Place, TextError};
use crate::infer::{Context, infer};
use crate::modes::Modes;
use crate::ops::Op;
use crate::program::{Const, DType, Inst, Interface, Layer, Messages, Port, Program, Round, Value};
use crate::types::{Domain, Form, Party, Type};

/// Bytes of a text, at most.
const MAX_TEXT: usize = 64 << 20;
/// Errors that are collected before giving up.
const MAX_ERRORS: usize = 100;
/// Caps of lists, those of the bytecode.
const MAX_PORTS: usize = 1024;
const MAX_WEIGHTS: usize = 1 << 16;
const MAX_LISTED: usize = 1 << 20;
const MAX_INSTS: usize = 1 << 22;

/// A program and where its parts stand.
#[derive(Clone, PartialEq, Debug)]
pub struct Parsed {
    /// The program. Its values are defined and typed; the other rules of [`crate::verify`] are not checked.
    pub program: Program,
    places: Vec<Place>,
    end: Place,
}

impl Parsed {
    /// Place of an instruction; the end of the text for one that is not there.
    pub fn place(&self, inst: usize) -> Place {
        self.places.get(inst).copied().unwrap_or(self.end)
    }
}

/// Reads a program.
pub fn parse(text: &str) -> Result<Program, Vec<TextError>> {
    parse_with_places(text).map(|p| p.program)
}

/// Reads a program and keeps the place of each instruction.
pub fn parse_with_places(text: &str) -> Result<Parsed, Vec<TextError>> {
    if text.len() > MAX_TEXT {
        let what = format!("the text is longer than {} MiB", MAX_TEXT >> 20);
        return Err(vec![TextError { place: Place { line: 1, column: 1 }, what }]);
    }
    let mut parser = Parser::new();
    let mut end = Place { line: 1, column: 1 };
    for (i, line) in text.split('\n').enumerate() {
        let number = u32::try_from(i + 1).unwrap_or(u32::MAX);
        let mut words = Words::new(line, number);
        if words.peek().is_none() {
            continue;
        }
        end = words.place();
        let first = words.peek().and_then(|w| w.token);
        if let Err(e) = parser.statement(&mut words) {
            parser.errors.push(e);
            parser.lost |= first != Some(Token::Value);
        }
        if parser.errors.len() >= MAX_ERRORS {
            parser.errors.truncate(MAX_ERRORS);
            parser.errors.push(TextError { place: end, what: "too many errors, the rest is not read".into() });
            return Err(parser.errors);
        }
    }
    parser.finish(end)
}

/// An open `round … {`.
struct Open {
    local_end: u32,
    place: Place,
}

struct Parser {
    program: Program,
    places: Vec<Place>,
    /// Type of each value; `None` after an error, and then nothing about it is reported.
    types: Vec<Option<Type>>,
    layer: u32,
    open: Option<Open>,
    seen_program: bool,
    seen_claims: bool,
    seen_weights: bool,
    /// Whether an instruction was lost, so that the number of the next value is not known.
    lost: bool,
    errors: Vec<TextError>,
}

type Parse<T> = Result<T, TextError>;

impl Parser {
    fn new() -> Self {
        let interface = Interface { inputs: vec![], outputs: vec![], weights: vec![], weight_owner: Party(0) };
        Parser {
            program: Program {
                protocol: String::new(),
                parties: 1,
                reveal: String::new(),
                kernels: String::new(),
                modes: Modes::default(),
                opened_bits: 0,
                thresholds: 0,
                peak_memory: 0,
                interface,
                consts: vec![],
                insts: vec![],
                setup_rounds: 0,
                rounds: vec![],
                layers: vec![],
            },
            places: vec![],
            types: vec![],
            layer: 0,
            open: None,
            seen_program: false,
            seen_claims: false,
            seen_weights: false,
            lost: false,
            errors: vec![],
        }
    }

    fn report(&mut self, place: Place, what: impl Into<String>) {
        self.errors.push(TextError { place, what: what.into() });
    }

    fn finish(mut self, end: Place) -> Result<Parsed, Vec<TextError>> {
        if let Some(open) = self.open.take() {
            self.report(open.place, "this round is not closed by `}`");
        }
        if !self.seen_program && self.errors.is_empty() {
            self.report(end, "there is no `program` statement");
        }
        if self.errors.is_empty() {
            Ok(Parsed { program: self.program, places: self.places, end })
        } else {
            self.errors.sort_by_key(|e| e.place);
            Err(self.errors)
        }
    }

    fn statement(&mut self, words: &mut Words<'_>) -> Parse<()> {
        let Some(first) = words.peek() else { return Ok(()) };
        match first.token {
            Some(Token::Value) => self.instruction(words),
            Some(Token::CloseBrace) => self.round_end(words),
            Some(Token::Word) => {
                words.take(Token::Word)?;
                match first.text {
                    "program" => self.first_line(words),
                    "claims" => self.claims(words),
                    "weights" => self.weight_owner(words),
                    "input" => self.port(words, true),
                    "output" if words.sees(Token::Number) => self.port(words, false),
                    "weight" => self.weight(words),
                    "const" => self.constant(words),
                    "layer" => self.layer(words),
                    "setup" => words.keyword("round").and_then(|()| self.round(words, true)),
                    "round" => self.round(words, false),
                    _ => self.operation(words, first, Vec::new()),
                }
            }
            _ => Err(words.wanted("a statement")),
        }
    }

    /// Descriptions come before instructions, so that each instruction can be typed.
    fn describes(&mut self, words: &Words<'_>) -> Parse<()> {
        if !self.seen_program && self.errors.is_empty() {
            self.report(words.place(), "the first statement is not `program`");
        }
        if self.places.is_empty() && self.program.rounds.is_empty() && self.open.is_none() {
            return Ok(());
        }
        Err(words.bad("a description after the first instruction or round"))
    }

    fn first_line(&mut self, words: &mut Words<'_>) -> Parse<()> {
        if std::mem::replace(&mut self.seen_program, true) {
            return Err(words.bad("a second `program` statement"));
        }
        self.describes(words)?;
        words.field("protocol")?;
        self.program.protocol = words.text()?;
        words.field("parties")?;
        let place = words.place();
        match words.number()? {
            n @ 1..=8 => self.program.parties = n,
            _ => return Err(TextError { place, what: "a program has 1 to 8 parties".into() }),
        }
        words.field("reveal")?;
        self.program.reveal = words.text()?;
        words.field("kernels")?;
        self.program.kernels = words.text()?;
        while let Some(field) = words.peek() {
            words.field(field.text)?;
            let value = words.take(Token::Word)?;
            let modes = self.program.modes.with(field.text, value.text);
            self.program.modes = modes.ok_or_else(|| words.bad_at(field, "no such mode, or it is said twice"))?;
        }
        words.end()
    }

    fn claims(&mut self, words: &mut Words<'_>) -> Parse<()> {
        self.describes(words)?;
        if std::mem::replace(&mut self.seen_claims, true) {
            return Err(words.bad("a second `claims` statement"));
        }
        self.program.opened_bits = words.number_field("opened_bits")?;
        self.program.thresholds = words.number_field("thresholds")?;
        self.program.peak_memory = words.number_field("peak_memory")?;
        words.end()
    }

    fn weight_owner(&mut self, words: &mut Words<'_>) -> Parse<()> {
        self.describes(words)?;
        if std::mem::replace(&mut self.seen_weights, true) {
            return Err(words.bad("a second `weights` statement"));
        }
        words.field("party")?;
        self.program.interface.weight_owner = words.party()?;
        words.end()
    }

    fn port(&mut self, words: &mut Words<'_>, input: bool) -> Parse<()> {
        self.describes(words)?;
        let interface = &mut self.program.interface;
        let (list, what) = if input { (&mut interface.inputs, "input") } else { (&mut interface.outputs, "output") };
        room(words, list.len(), MAX_PORTS)?;
        words.index(what, list.len())?;
        let name = words.text()?;
        let kind = words.take(Token::Word)?;
        let dtype = DType::from_name(kind.text).ok_or_else(|| words.bad_at(kind, "unknown element type"))?;
        let shape = words.dims()?;
        words.field("scale")?;
        let scale = words.float()?;
        let zero_point = words.number_field("zero")?;
        words.field("party")?;
        let party = words.party()?;
        let float = words.peek().is_some();
        if float {
            words.keyword("float32")?;
        }
        list.push(Port { name, dtype, shape, scale, zero_point, party, float });
        words.end()
    }

    fn weight(&mut self, words: &mut Words<'_>) -> Parse<()> {
        self.describes(words)?;
        let list = &mut self.program.interface.weights;
        room(words, list.len(), MAX_WEIGHTS)?;
        words.index("weight", list.len())?;
        list.push(words.dims()?);
        words.end()
    }

    fn constant(&mut self, words: &mut Words<'_>) -> Parse<()> {
        self.describes(words)?;
        room(words, self.program.consts.len(), MAX_LISTED)?;
        words.index("const", self.program.consts.len())?;
        let place = words.place();
        let shape = words.dims()?;
        words.take(Token::Equals)?;
        let data: Vec<i64> = words.list(usize::MAX)?;
        let len = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d as usize));
        if len != Some(data.len()) {
            let what = format!("{} elements are written for {}", data.len(), crate::types::dims(&shape));
            self.report(place, what);
        }
        self.program.consts.push(Const { shape, data });
        words.end()
    }

    /// `layer 2 operator=5 "name"` describes, `layer 2:` says where the following instructions come from.
    fn layer(&mut self, words: &mut Words<'_>) -> Parse<()> {
        let number = words.peek();
        let index: u32 = words.number()?;
        if words.accept(Token::Colon) {
            self.layer = index;
            return words.end();
        }
        self.describes(words)?;
        room(words, self.program.layers.len(), MAX_LISTED)?;
        if let Some(word) = number.filter(|_| index as usize != self.program.layers.len()) {
            let what = format!("layer {index} stands where layer {} should", self.program.layers.len());
            return Err(words.bad_at(word, what));
        }
        let operator = words.number_field("operator")?;
        self.program.layers.push(Layer { operator, name: words.text()? });
        words.end()
    }

    fn round(&mut self, words: &mut Words<'_>, setup: bool) -> Parse<()> {
        room(words, self.program.rounds.len(), MAX_LISTED)?;
        if let Some(open) = self.open.take() {
            self.report(open.place, "this round is not closed by `}`");
            self.close(open.local_end, Messages::none(self.program.parties));
        }
        let before = self.program.setup_rounds as usize;
        let place = words.place();
        let inference = self.program.rounds.len() - before;
        if setup && inference > 0 {
            self.report(place, "a set-up round after the first round of the inference");
        } else if setup {
            self.program.setup_rounds += 1;
        }
        self.open = Some(Open { local_end: self.program.insts.len() as u32, place });
        words.index("round", if setup { before + 1 } else { inference + 1 })?;
        words.take(Token::OpenBrace)?;
        words.end()
    }

    fn close(&mut self, local_end: u32, messages: Messages) {
        let exchange_end = self.program.insts.len() as u32;
        self.program.rounds.push(Round { local_end, exchange_end, messages });
    }

    fn round_end(&mut self, words: &mut Words<'_>) -> Parse<()> {
        let Some(open) = self.open.take() else { return Err(words.bad("no round is open here")) };
        let messages = self.sends(words);
        let parties = self.program.parties;
        self.close(open.local_end, messages.clone().unwrap_or_else(|_| Messages::none(parties)));
        messages.map(drop)
    }

    fn sends(&self, words: &mut Words<'_>) -> Parse<Messages> {
        let parties = self.program.parties;
        let mut messages = Messages::none(parties);
        words.take(Token::CloseBrace)?;
        if words.peek().is_some() {
            words.keyword("sends")?;
            loop {
                let place = words.place();
                let bad = |what: &str| TextError { place, what: what.into() };
                let from = words.party()?;
                words.take(Token::Arrow)?;
                let to = words.party()?;
                let bytes: u64 = words.number()?;
                if from.0 >= parties || to.0 >= parties {
                    return Err(bad("a message of a party that is not there"));
                }
                if messages.get(parties, from, to) != 0 {
                    return Err(bad("a second message of the same parties"));
                }
                messages.add(parties, from, to, bytes);
                if !words.accept(Token::Comma) {
                    break;
                }
            }
        }
        words.end()?;
        Ok(messages)
    }

    fn instruction(&mut self, words: &mut Words<'_>) -> Parse<()> {
        let mut results: Vec<Option<Type>> = Vec::new();
        let mut places = Vec::new();
        // Until the whole instruction is read, its results count as lost.
        let was_lost = std::mem::replace(&mut self.lost, true);
        loop {
            let place = words.place();
            let value = words.value()?;
            let expected = self.types.len() + results.len();
            if value.index() != expected {
                let missing = value.index().checked_sub(expected).filter(|n| *n <= MAX_ERRORS);
                if was_lost && results.is_empty() && missing.is_some() {
                    self.types.resize(value.index(), None);
                } else {
                    let what = format!("results are numbered in order: expected v{expected}, found {value}");
                    self.report(place, what);
                }
            }
            if results.len() == 8 {
                return Err(words.bad("more than 8 results"));
            }
            places.push(place);
            results.push(if words.accept(Token::Colon) { Some(read_type(words)?) } else { None });
            if !words.accept(Token::Comma) {
                break;
            }
        }
        self.lost = false;
        let done = words.take(Token::Equals).and_then(|_| words.take(Token::Word)).and_then(|name| {
            let written: Vec<(Place, Option<Type>)> = places.iter().copied().zip(results.iter().cloned()).collect();
            self.operation(words, name, written)
        });
        if done.is_err() {
            self.types.extend(results.iter().map(|_| None));
        }
        done
    }

    /// The rest of an instruction. After an error nothing has been added.
    fn operation(
        &mut self,
        words: &mut Words<'_>,
        name: super::lex::Word<'_>,
        written: Vec<(Place, Option<Type>)>,
    ) -> Parse<()> {
        room(words, self.program.insts.len(), MAX_INSTS)?;
        let place = words.place_of(name);
        let op = Op::parse(name, words)?;
        words.end()?;
        let inferred = self.type_of(&op, place);
        match inferred {
            Some(inferred) => {
                if inferred.len() != written.len() {
                    let what = format!("{} has {} results, {} are written", name.text, inferred.len(), written.len());
                    self.report(place, what);
                }
                for ((place, written), inferred) in written.iter().zip(&inferred) {
                    if let Some(w) = written.as_ref().filter(|w| *w != inferred) {
                        self.report(*place, format!("the type is {inferred}, not {w}"));
                    }
                }
                self.types.extend(inferred.into_iter().map(Some));
            }
            None => self.types.extend(written.iter().map(|_| None)),
        }
        self.program.insts.push(Inst { op, layer: self.layer });
        self.places.push(place);
        Ok(())
    }

    /// Types of the results, if they can be known; reports why not.
    fn type_of(&mut self, op: &Op<Value>, place: Place) -> Option<Vec<Type>> {
        if let Some(v) = op.operands().iter().find(|v| v.index() >= self.types.len()) {
            if !self.lost {
                self.report(place, format!("V1 {v} is not defined yet"));
            }
            return None;
        }
        if op.operands().iter().any(|v| self.types[v.index()].is_none()) {
            return None;
        }
        let p = &self.program;
        let cx = Context { scheme: p.scheme(), interface: &p.interface, consts: &p.consts };
        let types = &self.types;
        let typed = op.map(|v| types[v.index()].as_ref().expect("looked at above"));
        match infer(&typed, &cx) {
            Ok(list) => Some(list),
            Err(what) => {
                self.report(place, format!("V2 {}: {what}", op.mnemonic()));
                None
            }
        }
    }
}

fn room(words: &Words<'_>, len: usize, cap: usize) -> Parse<()> {
    if len < cap { Ok(()) } else { Err(words.bad(format!("more than {cap} of these"))) }
}

/// `arith<32>[1x8]`, `held<64>[4]@{0,1}`.
fn read_type(words: &mut Words<'_>) -> Parse<Type> {
    let name = words.take(Token::Word)?;
    let domain: fn(u8) -> Domain = match name.text {
        "public" => {
            return Ok(Type::public(&words.dims()?));
        }
        "arith" | "sum" | "held" => Domain::Ring,
        "bits" | "bitsum" | "heldbits" => Domain::Bits,
        other => return Err(words.bad_at(name, format!("unknown type {}", shown(other)))),
    };
    words.take(Token::Less)?;
    let domain = domain(words.number()?);
    words.take(Token::Greater)?;
    let shape = words.dims()?;
    let form = match name.text {
        "arith" | "bits" => Form::Shared,
        "sum" | "bitsum" => words.take(Token::At).and_then(|_| words.holders()).map(Form::Sum)?,
        _ => words.take(Token::At).and_then(|_| words.holders()).map(Form::Held)?,
    };
    Ok(Type { domain, form, shape })
}
