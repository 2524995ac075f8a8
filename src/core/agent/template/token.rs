//! Cuts a template into tokens, as Go's template language does. Knows no grammar.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Outside of actions.
    Text,
    /// Opens an action.
    Open,
    /// Closes an action.
    Close,
    Space,
    Pipe,
    Declare,
    Assign,
    LeftParen,
    RightParen,
    /// Any other printable character.
    Char,
    Quoted,
    RawQuoted,
    CharConstant,
    Number,
    Bool,
    Dot,
    Field,
    Variable,
    Identifier,
    Nil,
    /// A word of the language: `if`, `end` and so on.
    Keyword,
    /// The text says what is wrong; nothing follows.
    Error,
    /// The end.
    Eof,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: std::borrow::Cow<'a, str>,
    /// Where it begins, in bytes.
    pub(super) at: usize,
}

/// Words that are not names of functions.
const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// Cuts a template up; the last token is `Error` or `Eof`.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { text, at: 0, start: 0, parens: 0, tokens: Vec::new() };
    let last = match lexer.run() {
        Ok(()) => Token { kind: Kind::Eof, text: "".into(), at: text.len() },
        Err(problem) => Token { kind: Kind::Error, text: problem.into(), at: lexer.start },
    };
    lexer.tokens.push(last);
    lexer.tokens
}

pub(super) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// Writes a character as Go's `%#U` does.
fn code_point(character: char) -> String {
    format!("U+{:04X} '{character}'", u32::from(character))
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Where the token under way begins.
    start: usize,
    parens: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Result<(), String> {
        let mut trim = false;
        loop {
            let rest = &self.text[self.at..];
            let open = rest.find("{{");
            let mut plain = &rest[..open.unwrap_or(rest.len())];
            let mut at = self.at;
            if trim {
                let kept = plain.trim_start_matches(is_space);
                at += plain.len() - kept.len();
                plain = kept;
            }
            let Some(open) = open else {
                self.text_token(at, plain);
                return Ok(());
            };
            let inner = self.at + open + 2;
            let trims = has_left_trim(&self.text[inner..]);
            self.text_token(at, if trims { plain.trim_end_matches(is_space) } else { plain });
            self.start = inner - 2;
            self.at = if trims { inner + 2 } else { inner };
            trim = if self.rest().starts_with("/*") { self.comment()? } else { self.action()? };
        }
    }

    fn text_token(&mut self, at: usize, plain: &'a str) {
        if !plain.is_empty() {
            self.tokens.push(Token { kind: Kind::Text, text: plain.into(), at });
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn emit(&mut self, kind: Kind) {
        let text = self.text[self.start..self.at].into();
        self.tokens.push(Token { kind, text, at: self.start });
        self.start = self.at;
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|character| !wanted(character)).unwrap_or(rest.len());
    }

    /// Returns the length of closing braces here, and whether they trim what follows.
    fn closing(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        let trims = rest.starts_with(is_space) && rest[1..].starts_with("-}}");
        trims.then_some((4, true)).or_else(|| rest.starts_with("}}").then_some((2, false)))
    }

    /// Passes over a comment; tells whether it trims what follows.
    fn comment(&mut self) -> Result<bool, String> {
        let length = self.rest()[2..].find("*/").ok_or("unclosed comment")?;
        self.at += length + 4;
        let (braces, trims) = self.closing().ok_or("comment ends before closing delimiter")?;
        self.at += braces;
        self.start = self.at;
        Ok(trims)
    }

    /// Cuts up one action; tells whether it trims what follows.
    fn action(&mut self) -> Result<bool, String> {
        self.emit(Kind::Open);
        self.parens = 0;
        loop {
            if let Some((braces, trims)) = self.closing() {
                if self.parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.at += braces;
                self.emit(Kind::Close);
                return Ok(trims);
            }
            self.inside()?;
        }
    }

    fn inside(&mut self) -> Result<(), String> {
        let first = self.peek().ok_or("unclosed action")?;
        if is_space(first) {
            // A space before a trimming close belongs to the close.
            while self.peek().is_some_and(is_space) && self.closing().is_none() {
                self.at += 1;
            }
            self.emit(Kind::Space);
            return Ok(());
        }
        let next = self.rest()[first.len_utf8()..].chars().next();
        match first {
            '.' if !next.is_some_and(|next| next.is_ascii_digit()) => self.name(Kind::Field),
            '.' | '+' | '-' | '0'..='9' => self.number(),
            '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant"),
            '`' => self.raw(),
            '$' => self.name(Kind::Variable),
            _ if is_word(first) => self.name(Kind::Identifier),
            _ => self.sign(first),
        }
    }

    fn sign(&mut self, first: char) -> Result<(), String> {
        self.at += first.len_utf8();
        let kind = match first {
            '=' => Kind::Assign,
            ':' if self.rest().starts_with('=') => {
                self.at += 1;
                Kind::Declare
            }
            ':' => return Err("expected :=".to_owned()),
            '|' => Kind::Pipe,
            '(' => {
                self.parens += 1;
                Kind::LeftParen
            }
            ')' => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
                Kind::RightParen
            }
            ' '..='~' => Kind::Char,
            other => {
                return Err(format!("unrecognized character in action: {}", code_point(other)));
            }
        };
        self.emit(kind);
        Ok(())
    }

    fn name(&mut self, kind: Kind) -> Result<(), String> {
        if kind != Kind::Identifier {
            self.at += 1;
        }
        self.skip_while(is_word);
        let ends = |next: char| is_space(next) || ".,|:)(".contains(next);
        if let Some(next) = self.peek()
            && !ends(next)
            && !self.rest().starts_with("}}")
        {
            return Err(format!("bad character {}", code_point(next)));
        }
        let kind = match (kind, &self.text[self.start..self.at]) {
            (Kind::Field, ".") => Kind::Dot,
            (Kind::Identifier, "true" | "false") => Kind::Bool,
            (Kind::Identifier, "nil") => Kind::Nil,
            (Kind::Identifier, word) if KEYWORDS.contains(&word) => Kind::Keyword,
            (kind, _) => kind,
        };
        self.emit(kind);
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.rest().starts_with(['+', '-']) {
            self.at += 1;
        }
        let digits =
            |character: char| character.is_ascii_alphanumeric() || "._".contains(character);
        self.skip_while(digits);
        // The sign of an exponent; hexadecimal digits hold an `e` that is none.
        let scanned = self.text[self.start..self.at].trim_start_matches(['+', '-']);
        let hexadecimal = scanned.starts_with("0x") || scanned.starts_with("0X");
        let exponent = if hexadecimal { ['p', 'P'] } else { ['e', 'E'] };
        if scanned.ends_with(exponent) && self.rest().starts_with(['+', '-']) {
            self.at += 1;
            self.skip_while(digits);
        }
        let scanned = &self.text[self.start..self.at];
        if super::number::parse(scanned).is_none() {
            return Err(format!("bad number syntax: {scanned:?}"));
        }
        self.emit(Kind::Number);
        Ok(())
    }

    fn quoted(&mut self, quote: char, kind: Kind, problem: &str) -> Result<(), String> {
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            let escaped = character == '\\';
            let character =
                if escaped { characters.next().map(|(_, next)| next) } else { Some(character) };
            match character {
                None | Some('\n') => return Err(problem.to_owned()),
                Some(found) if found == quote && !escaped => {
                    self.at += offset + 1;
                    self.emit(kind);
                    return Ok(());
                }
                Some(_) => {}
            }
        }
        Err(problem.to_owned())
    }

    fn raw(&mut self) -> Result<(), String> {
        let length = self.rest()[1..].find('`').ok_or("unterminated raw quoted string")?;
        self.at += length + 2;
        self.emit(Kind::RawQuoted);
        Ok(())
    }
}

fn has_left_trim(inner: &str) -> bool {
    inner.starts_with('-') && inner[1..].starts_with(is_space)
}
