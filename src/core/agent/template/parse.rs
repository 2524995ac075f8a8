//! Parses templates into texts and pipelines. Evaluates nothing.

use super::TemplateError;

/// Deepest nesting of parentheses.
const DEPTH_MAX: usize = 32;

/// Most pieces of one template.
const ACTIONS_MAX: usize = 10_000;

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Action<'a> {
    /// Goes out as it is.
    Text(&'a str),
    /// Goes out evaluated.
    Print(Pipeline),
}

/// Commands, each fed with what the one before came to.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) commands: Vec<Command>,
}

/// A value, or a function and its arguments; never empty.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
    /// As written, for errors.
    pub(super) source: String,
    line: usize,
    column: usize,
}

impl Command {
    /// Makes an error that names the place.
    pub(super) fn error(&self, text: &str) -> TemplateError {
        let Self { source, line, column, .. } = self;
        TemplateError(format!(
            "template: expansion:{line}:{column}: executing \"expansion\" at <{source}>: {text}"
        ))
    }
}

#[derive(Debug)]
pub(super) enum Operand {
    Text(String),
    Field(Vec<String>),
    Function(String),
    Nested(Pipeline),
}

/// Parses a template; `payload` allows the functions that read payloads.
pub(super) fn parse(text: &str, payload: bool) -> Result<Vec<Action<'_>>, TemplateError> {
    let mut actions = Vec::new();
    let mut rest = 0;
    let mut trim_left = false;
    while let Some(open) = text[rest..].find("{{").map(|found| rest + found) {
        let mut plain = &text[rest..open];
        if trim_left {
            plain = plain.trim_start_matches(is_space);
        }
        let inner = open + 2;
        let trims = text[inner..].starts_with('-') && text[inner + 1..].starts_with(is_space);
        if trims {
            plain = plain.trim_end_matches(is_space);
        }
        if !plain.is_empty() {
            actions.push(Action::Text(plain));
        }
        let start = if trims { inner + 1 } else { inner };
        let close = end_of_action(text, start)?;
        let body = &text[start..close];
        trim_left = body.ends_with('-') && body[..body.len() - 1].ends_with(is_space);
        let body = if trim_left { &body[..body.len() - 1] } else { body };
        if !body.trim().starts_with("/*") {
            let mut parser = Parser { text, at: start, end: start + body.len(), payload };
            actions.push(Action::Print(parser.action()?));
        }
        if actions.len() > ACTIONS_MAX {
            return Err(error(text, open, "template is too long"));
        }
        rest = close + 2;
    }
    let plain = &text[rest..];
    let plain = if trim_left { plain.trim_start_matches(is_space) } else { plain };
    actions.push(Action::Text(plain));
    Ok(actions)
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    (line, column)
}

fn error(text: &str, at: usize, problem: &str) -> TemplateError {
    let (line, _) = position(text, at);
    TemplateError(format!("template: expansion:{line}: {problem}"))
}

/// Finds the closing braces, skipping quoted texts and comments.
fn end_of_action(text: &str, start: usize) -> Result<usize, TemplateError> {
    let bytes = text.as_bytes();
    if text[start..].trim_start().starts_with("/*") {
        let after = text[start..].find("*/").map(|found| start + found + 2);
        let close = after.and_then(|after| text[after..].find("}}").map(|found| after + found));
        return close.ok_or_else(|| error(text, start, "unclosed comment"));
    }
    let mut quote = None;
    let mut at = start;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'`') => quote = Some(bytes[at]),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Ok(at),
            (None, _) => {}
        }
        at += 1;
    }
    let problem = if quote.is_some() { "unterminated quoted string" } else { "unclosed action" };
    Err(error(text, start, problem))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    end: usize,
    payload: bool,
}

impl<'a> Parser<'a> {
    fn action(&mut self) -> Result<Pipeline, TemplateError> {
        let pipeline = self.pipeline(0)?;
        match self.rest().chars().next() {
            None => Ok(pipeline),
            Some(found) => Err(self.error(&format!("unexpected \"{found}\" in command"))),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..self.end]
    }

    fn error(&self, problem: &str) -> TemplateError {
        error(self.text, self.at, problem)
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(is_space).len();
    }

    fn pipeline(&mut self, depth: usize) -> Result<Pipeline, TemplateError> {
        if depth > DEPTH_MAX {
            return Err(self.error("template is nested too deeply"));
        }
        let mut commands = vec![self.command(depth)?];
        while self.rest().starts_with('|') {
            self.at += 1;
            commands.push(self.command(depth)?);
        }
        Ok(Pipeline { commands })
    }

    fn command(&mut self, depth: usize) -> Result<Command, TemplateError> {
        self.skip_space();
        let start = self.at;
        let mut operands = Vec::new();
        while let Some(operand) = self.operand(depth)? {
            operands.push(operand);
            self.skip_space();
        }
        if operands.is_empty() {
            return Err(self.error("missing value for command"));
        }
        let source = self.text[start..self.at].trim().to_owned();
        // Of a chain of fields, the template engine that users know names the place of the second.
        let chained = match operands.as_slice() {
            [Operand::Field(path)] if path.len() > 1 => path[0].len() + 1,
            _ => 0,
        };
        let (line, column) = position(self.text, start + chained);
        Ok(Command { operands, source, line, column })
    }

    fn operand(&mut self, depth: usize) -> Result<Option<Operand>, TemplateError> {
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        match first {
            '|' | ')' => Ok(None),
            '(' => {
                self.at += 1;
                let inner = self.pipeline(depth + 1)?;
                if !self.rest().starts_with(')') {
                    return Err(self.error("unclosed left paren"));
                }
                self.at += 1;
                Ok(Some(Operand::Nested(inner)))
            }
            '.' => self.field().map(Some),
            '"' => self.quoted().map(Some),
            '`' => self.raw().map(Some),
            '0'..='9' => Ok(Some(Operand::Text(self.word()))),
            'a'..='z' | 'A'..='Z' | '_' => self.function().map(Some),
            other => Err(self.error(&format!("unexpected \"{other}\" in command"))),
        }
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let length = rest
            .find(|character: char| !character.is_alphanumeric() && character != '_')
            .unwrap_or(rest.len());
        self.at += length;
        rest[..length].to_owned()
    }

    fn field(&mut self) -> Result<Operand, TemplateError> {
        let mut path = Vec::new();
        while self.rest().starts_with('.') {
            self.at += 1;
            let name = self.word();
            if name.is_empty() {
                if path.is_empty() && !self.rest().starts_with('.') {
                    break;
                }
                return Err(self.error("unexpected . after term"));
            }
            path.push(name);
        }
        Ok(Operand::Field(path))
    }

    fn quoted(&mut self) -> Result<Operand, TemplateError> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += offset + 1;
                    return Ok(Operand::Text(text));
                }
                '\\' => match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(escaped @ ('"' | '\\')) => text.push(escaped),
                    Some(_) | None => break,
                },
                plain => text.push(plain),
            }
        }
        Err(self.error("bad quoted string"))
    }

    fn raw(&mut self) -> Result<Operand, TemplateError> {
        let Some(length) = self.rest()[1..].find('`') else {
            return Err(self.error("unterminated raw quoted string"));
        };
        let text = self.rest()[1..=length].to_owned();
        self.at += length + 2;
        Ok(Operand::Text(text))
    }

    fn function(&mut self) -> Result<Operand, TemplateError> {
        let start = self.at;
        let name = self.word();
        match name.as_str() {
            "join" | "index" | "print" => Ok(Operand::Function(name)),
            "secret" | "config" | "env" if self.payload => Ok(Operand::Function(name)),
            "true" | "false" => Ok(Operand::Text(name)),
            "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block" => {
                Err(error(self.text, start, &format!("\"{name}\" is not supported")))
            }
            _ => Err(error(self.text, start, &format!("function \"{name}\" not defined"))),
        }
    }
}
