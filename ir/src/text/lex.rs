//! Words of one line. The text is hostile: numbers are checked where they are used, lists have a cap.
use super::print::escape;
use super::{Place, TextError};
use crate::program::Value;
use crate::types::{Holders, Party};
use logos::{Lexer, Logos};
use std::str::FromStr;

/// What the parser sees.
#[derive(Logos, Clone, Copy, PartialEq, Eq, Debug)]
#[logos(skip r"[ \t\r]+")]
#[logos(skip(r";[^\n]*", allow_greedy = true))]
pub enum Token {
    /// `v12`
    #[regex("v[0-9]+", priority = 5)]
    Value,
    /// A name or keyword; also `k3x3`.
    #[regex("[a-zA-Z_][a-zA-Z0-9_]*", priority = 3)]
    Word,
    /// `-12`
    #[regex("-?[0-9]+", priority = 4)]
    Number,
    /// `1x8x8`
    #[regex("[0-9]+(x[0-9]+)+")]
    Dims,
    /// `0.5`, `1e-10`
    #[regex(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", priority = 2)]
    Float,
    /// `#7fc00000`: the bits of a float.
    #[regex("#[0-9a-f]+")]
    Pattern,
    /// `"a \"b\" \u{e9}"`
    #[regex(r#""([^"\\\n]|\\[^\n])*""#)]
    Text,
    /// Stands for what was left out.
    #[token("…")]
    #[token("...")]
    Elision,
    /// `->`
    #[token("->")]
    Arrow,
    /// `=`
    #[token("=")]
    Equals,
    /// `,`
    #[token(",")]
    Comma,
    /// `:`
    #[token(":")]
    Colon,
    /// `@`
    #[token("@")]
    At,
    /// `+`
    #[token("+")]
    Plus,
    /// `/`
    #[token("/")]
    Slash,
    /// `*`
    #[token("*")]
    Star,
    /// `^`
    #[token("^")]
    Caret,
    /// `<`
    #[token("<")]
    Less,
    /// `>`
    #[token(">")]
    Greater,
    /// `[`
    #[token("[")]
    OpenList,
    /// `]`
    #[token("]")]
    CloseList,
    /// `{`
    #[token("{")]
    OpenBrace,
    /// `}`
    #[token("}")]
    CloseBrace,
}

impl Token {
    fn name(self) -> &'static str {
        match self {
            Token::Value => "a value",
            Token::Word => "a name",
            Token::Number => "a number",
            Token::Dims => "dimensions",
            Token::Float => "a decimal number",
            Token::Pattern => "a bit pattern",
            Token::Text => "a quoted text",
            Token::Elision => "`…`",
            Token::Arrow => "`->`",
            Token::Equals => "`=`",
            Token::Comma => "`,`",
            Token::Colon => "`:`",
            Token::At => "`@`",
            Token::Plus => "`+`",
            Token::Slash => "`/`",
            Token::Star => "`*`",
            Token::Caret => "`^`",
            Token::Less => "`<`",
            Token::Greater => "`>`",
            Token::OpenList => "`[`",
            Token::CloseList => "`]`",
            Token::OpenBrace => "`{`",
            Token::CloseBrace => "`}`",
        }
    }
}

/// A word and its place.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Its kind; `None` for what no word begins with.
    pub token: Option<Token>,
    /// As written.
    pub text: &'a str,
    at: usize,
}

/// The first characters of a text, for a message.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(32).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("`{}`", escape(&short))
}

/// Reads the words of one line, looking one ahead.
pub struct Words<'a> {
    line: &'a str,
    number: u32,
    lexer: Lexer<'a, Token>,
    next: Option<Word<'a>>,
    /// Whether the next item of an instruction needs no comma before it.
    fresh: bool,
}

impl<'a> Words<'a> {
    /// The words of `line`, which is line `number` of its text.
    pub fn new(line: &'a str, number: u32) -> Self {
        let mut words = Words { line, number, lexer: Token::lexer(line), next: None, fresh: true };
        words.advance();
        words
    }

    fn advance(&mut self) {
        self.next = self.lexer.next().map(|token| Word {
            token: token.ok(),
            text: self.lexer.slice(),
            at: self.lexer.span().start,
        });
    }

    /// The next word, if the line has one.
    pub fn peek(&self) -> Option<Word<'a>> {
        self.next
    }

    /// Whether the next word is of this kind.
    pub fn sees(&self, token: Token) -> bool {
        self.next.is_some_and(|w| w.token == Some(token))
    }

    /// Place of the next word, or of the end of the line.
    pub fn place(&self) -> Place {
        self.place_at(self.next.map_or(self.line.len(), |w| w.at))
    }

    fn place_at(&self, at: usize) -> Place {
        let before = self.line.get(..at).unwrap_or(self.line);
        let column = u32::try_from(before.chars().count()).unwrap_or(u32::MAX).saturating_add(1);
        Place { line: self.number, column }
    }

    /// Place of a word that was taken.
    pub fn place_of(&self, word: Word<'_>) -> Place {
        self.place_at(word.at)
    }

    /// An error at the next word.
    pub fn bad(&self, what: impl Into<String>) -> TextError {
        TextError { place: self.place(), what: what.into() }
    }

    /// An error at a word that was taken.
    pub fn bad_at(&self, word: Word<'_>, what: impl Into<String>) -> TextError {
        TextError { place: self.place_of(word), what: what.into() }
    }

    /// An error that names what should stand here.
    pub fn wanted(&self, what: &str) -> TextError {
        let found = match self.next {
            None => "the line ends".to_owned(),
            Some(Word { token: Some(Token::Elision), .. }) => {
                return self.bad("`…` stands for elements that were left out: print the program without `--elide`");
            }
            Some(Word { token: None, text, .. }) if text.starts_with('"') => {
                return self.bad("a quoted text is not closed on its line");
            }
            Some(w) => format!("found {}", shown(w.text)),
        };
        self.bad(format!("expected {what}, {found}"))
    }

    /// Takes the next word of this kind.
    pub fn take(&mut self, token: Token) -> Result<Word<'a>, TextError> {
        match self.next {
            Some(w) if w.token == Some(token) => {
                self.advance();
                Ok(w)
            }
            _ => Err(self.wanted(token.name())),
        }
    }

    /// Takes the next word if it is of this kind.
    pub fn accept(&mut self, token: Token) -> bool {
        let found = self.sees(token);
        if found {
            self.advance();
        }
        found
    }

    /// Takes this keyword.
    pub fn keyword(&mut self, word: &str) -> Result<(), TextError> {
        match self.next {
            Some(w) if w.token == Some(Token::Word) && w.text == word => {
                self.advance();
                Ok(())
            }
            _ => Err(self.wanted(&format!("`{word}`"))),
        }
    }

    /// Takes `name=`.
    pub fn field(&mut self, name: &str) -> Result<(), TextError> {
        self.keyword(name)?;
        self.take(Token::Equals).map(drop)
    }

    /// Takes a number that fits `T`.
    pub fn number<T: FromStr>(&mut self) -> Result<T, TextError> {
        let word = self.take(Token::Number)?;
        self.read(word, word.text)
    }

    fn read<T: FromStr>(&self, word: Word<'a>, digits: &str) -> Result<T, TextError> {
        digits.parse().map_err(|_| self.bad_at(word, format!("number {} does not fit here", shown(digits))))
    }

    /// Takes `index`, which must be this one.
    pub fn index(&mut self, what: &str, expected: usize) -> Result<(), TextError> {
        let word = self.take(Token::Number)?;
        if word.text.parse() == Ok(expected) {
            return Ok(());
        }
        Err(self.bad_at(word, format!("{what} {} stands where {what} {expected} should", shown(word.text))))
    }

    /// Takes `name=number`.
    pub fn number_field<T: FromStr>(&mut self, name: &str) -> Result<T, TextError> {
        self.field(name)?;
        self.number()
    }

    /// Takes a party.
    pub fn party(&mut self) -> Result<Party, TextError> {
        Ok(Party(self.number()?))
    }

    /// Takes `v12`.
    pub fn value(&mut self) -> Result<Value, TextError> {
        let word = self.take(Token::Value)?;
        Ok(Value(self.read(word, &word.text[1..])?))
    }

    /// Takes a quoted text of at most 4096 bytes.
    pub fn text(&mut self) -> Result<String, TextError> {
        let word = self.take(Token::Text)?;
        let inner = &word.text[1..word.text.len() - 1];
        let text = unescape(inner).map_err(|what| self.bad_at(word, what))?;
        if text.len() > 4096 {
            return Err(self.bad_at(word, "text is longer than 4096 bytes"));
        }
        Ok(text)
    }

    /// Takes a 32-bit float.
    pub fn float(&mut self) -> Result<f32, TextError> {
        if self.sees(Token::Pattern) {
            let word = self.take(Token::Pattern)?;
            let bits = Some(&word.text[1..]).filter(|d| d.len() == 8).and_then(|d| u32::from_str_radix(d, 16).ok());
            return bits.map(f32::from_bits).ok_or_else(|| self.bad_at(word, "a bit pattern has eight digits"));
        }
        let word = if self.sees(Token::Number) { self.take(Token::Number)? } else { self.take(Token::Float)? };
        self.read(word, word.text)
    }

    /// Takes `[1x8x8]`, at most 8 dimensions.
    pub fn dims(&mut self) -> Result<Vec<u32>, TextError> {
        self.take(Token::OpenList)?;
        let mut dims = Vec::new();
        if let Some(word) = self.next.filter(|w| matches!(w.token, Some(Token::Number | Token::Dims))) {
            self.advance();
            for part in word.text.split('x') {
                if dims.len() == 8 {
                    return Err(self.bad_at(word, "more than 8 dimensions"));
                }
                dims.push(self.read(word, part)?);
            }
        }
        self.take(Token::CloseList)?;
        Ok(dims)
    }

    /// Takes `[1 2 3]`, at most `cap` numbers.
    pub fn list<T: FromStr>(&mut self, cap: usize) -> Result<Vec<T>, TextError> {
        self.take(Token::OpenList)?;
        let mut list = Vec::new();
        while self.sees(Token::Number) {
            if list.len() == cap {
                return Err(self.bad(format!("more than {cap} numbers")));
            }
            list.push(self.number()?);
        }
        self.take(Token::CloseList)?;
        Ok(list)
    }

    /// Takes `{0,2}`.
    pub fn holders(&mut self) -> Result<Holders, TextError> {
        self.take(Token::OpenBrace)?;
        let mut set = 0u16;
        while !self.accept(Token::CloseBrace) {
            if set != 0 {
                self.take(Token::Comma)?;
            }
            let word = self.take(Token::Number)?;
            match word.text.parse() {
                Ok(p @ 0..16u8) if set >> p == 0 => set |= 1 << p,
                _ => return Err(self.bad_at(word, "parties are 0 to 15, in ascending order")),
            }
        }
        Ok(Holders(set))
    }

    /// Takes two numbers as in `3x3`, after a `prefix` letter if it is not empty.
    pub fn pair(&mut self, prefix: &str) -> Result<[u32; 2], TextError> {
        let wanted = if prefix.is_empty() { "two numbers as `3x3`" } else { "a letter and two numbers as `k3x3`" };
        let kind = if prefix.is_empty() { Token::Dims } else { Token::Word };
        let parts = |w: &Word<'a>| w.text.strip_prefix(prefix).and_then(|t| t.split_once('x'));
        let Some((word, (a, b))) =
            self.next.filter(|w| w.token == Some(kind)).and_then(|w| parts(&w).map(|halves| (w, halves)))
        else {
            return Err(self.wanted(wanted));
        };
        let pair = [self.read(word, a)?, self.read(word, b)?];
        self.advance();
        Ok(pair)
    }

    /// Takes the comma before an item of an instruction, but for the first.
    fn separator(&mut self) -> Result<(), TextError> {
        if !std::mem::replace(&mut self.fresh, false) {
            self.take(Token::Comma)?;
        }
        Ok(())
    }

    /// The next operand.
    pub fn operand(&mut self) -> Result<Value, TextError> {
        self.separator()?;
        self.value()
    }

    /// Operands until something else comes, at most 4096.
    pub fn operands(&mut self) -> Result<Vec<Value>, TextError> {
        let mut list = Vec::new();
        while self.fresh || self.accept(Token::Comma) {
            if !self.sees(Token::Value) {
                self.fresh = true;
                break;
            }
            self.fresh = false;
            if list.len() == 4096 {
                return Err(self.bad("more than 4096 operands"));
            }
            list.push(self.value()?);
        }
        Ok(list)
    }

    /// The immediate `name`.
    pub fn immediate<T: crate::imm::Imm>(&mut self, name: &str) -> Result<T, TextError> {
        self.separator()?;
        self.field(name)?;
        T::parse(self)
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<(), TextError> {
        if self.next.is_none() { Ok(()) } else { Err(self.wanted("the end of the line")) }
    }
}

/// What `escape` was given.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(quoted) = rest.chars().next().filter(|c| matches!(c, '"' | '\\')) {
            out.push(quoted);
            rest = &rest[1..];
            continue;
        }
        let code = rest.strip_prefix("u{").and_then(|r| r.split_once('}'));
        let character = code.and_then(|(digits, after)| {
            let plain = (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let number = u32::from_str_radix(digits, 16).ok().filter(|_| plain)?;
            Some((char::from_u32(number)?, after))
        });
        let Some((c, after)) = character else { return Err(unknown_escape(rest)) };
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown_escape(rest: &str) -> String {
    let start: String = rest.chars().take(1).map(|c| escape(&c.to_string())).collect();
    format!("unknown escape `\\{start}`, known are `\\\"`, `\\\\` and `\\u{{e9}}`")
}
