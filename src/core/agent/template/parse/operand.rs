//! Pipelines, commands and operands: what stands inside an action. Knows no blocks.

use super::{Parsed, Parser};
use crate::agent::template::functions;
use crate::agent::template::number;
use crate::agent::template::number::Number;
use crate::agent::template::token::{Kind, Token};
use crate::agent::template::tree::{Command, Operand, OperandKind, Pipeline};

impl Parser<'_> {
    pub(super) fn pipeline_inside(&mut self, context: &str, end: Kind) -> Parsed<Pipeline> {
        let (variables, assigns) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            let token = self.peek_solid();
            match token.kind {
                kind if kind == end => {
                    self.take();
                    break;
                }
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawQuoted
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParen => commands.push(self.command()?),
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        if commands.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        for (place, command) in commands.iter().enumerate().skip(1) {
            let inert = matches!(
                command.operands[0].kind,
                OperandKind::Bool(_)
                    | OperandKind::Dot
                    | OperandKind::Nil
                    | OperandKind::Number { .. }
                    | OperandKind::Text { .. }
            );
            if inert {
                let stage = place + 1;
                let text = format!("non executable command in pipeline stage {stage}");
                return Err(self.error(&text));
            }
        }
        Ok(Pipeline { variables, assigns, commands })
    }

    /// Reads `$a :=`, `$a =` or, for loops, `$a, $b :=`; without one of these the variable is a value.
    fn declarations(&mut self, context: &str) -> Parsed<(Vec<String>, bool)> {
        let mut names: Vec<String> = Vec::new();
        while self.peek_solid().kind == Kind::Variable {
            let begin = self.next;
            let name = self.take().text.into_owned();
            let sign = self.take_solid();
            match sign.kind {
                Kind::Assign | Kind::Declare => {
                    self.variables.push(name.clone());
                    names.push(name);
                    return Ok((names, sign.kind == Kind::Assign));
                }
                Kind::Char if sign.text == "," => {
                    self.variables.push(name.clone());
                    names.push(name);
                    if context != "range" || names.len() > 1 {
                        return Err(self.error(&format!("too many declarations in {context}")));
                    }
                    let next = self.peek_solid().kind;
                    if !matches!(next, Kind::Variable | Kind::Close | Kind::RightParen) {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    self.next = begin;
                    break;
                }
            }
        }
        Ok((names, false))
    }

    fn command(&mut self) -> Parsed<Command> {
        let at = self.peek_solid().at;
        let mut operands = Vec::new();
        loop {
            operands.extend(self.operand()?);
            let token = self.peek().clone();
            match token.kind {
                Kind::Space => {
                    self.take();
                    continue;
                }
                Kind::Close | Kind::RightParen => {}
                Kind::Pipe => {
                    self.take();
                }
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if operands.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command { operands, at })
    }

    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        // Of a chain, errors name the place of its second link.
        let at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.take().text[1..].to_owned());
        }
        let kind = match term.kind {
            OperandKind::Field(mut path) => {
                path.append(&mut fields);
                OperandKind::Field(path)
            }
            OperandKind::Variable { name, fields: mut path } => {
                path.append(&mut fields);
                OperandKind::Variable { name, fields: path }
            }
            OperandKind::Bool(_)
            | OperandKind::Nil
            | OperandKind::Number { .. }
            | OperandKind::Text { .. }
            | OperandKind::Dot => {
                let text = format!("unexpected . after term {:?}", term.to_string());
                return Err(self.error(&text));
            }
            OperandKind::Function(_) | OperandKind::Nested(_) | OperandKind::Chain(..) => {
                OperandKind::Chain(Box::new(term), fields)
            }
        };
        Ok(Some(Operand { kind, at }))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.peek_solid();
        let kind = match token.kind {
            Kind::Identifier => {
                self.take();
                if !functions::is_defined(&token.text, self.payload) {
                    let text = format!("function {:?} not defined", token.text);
                    return Err(self.error(&text));
                }
                OperandKind::Function(token.text.to_string())
            }
            Kind::LeftParen => {
                self.take();
                let inner = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                OperandKind::Nested(inner)
            }
            Kind::Variable => {
                self.take();
                if !self.variables.contains(&token.text.to_string()) {
                    return Err(self.error(&format!("undefined variable {:?}", token.text)));
                }
                OperandKind::Variable { name: token.text.to_string(), fields: Vec::new() }
            }
            _ => {
                let Some(kind) = self.constant(&token)? else { return Ok(None) };
                self.take();
                kind
            }
        };
        Ok(Some(Operand { kind, at: token.at }))
    }

    fn constant(&self, token: &Token<'_>) -> Parsed<Option<OperandKind>> {
        let source = token.text.to_string();
        let bad = |text: String| self.error_at(token.at, &text);
        let kind = match token.kind {
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Bool => OperandKind::Bool(source == "true"),
            Kind::Field => OperandKind::Field(vec![source[1..].to_owned()]),
            Kind::Number => {
                let value = number::parse(&source)
                    .ok_or_else(|| bad(format!("illegal number syntax: {source:?}")))?;
                OperandKind::Number { value, source }
            }
            Kind::CharConstant => {
                let value = number::character(&source)
                    .ok_or_else(|| bad(format!("malformed character constant: {source}")))?;
                OperandKind::Number { value: Number::Int(i64::from(u32::from(value))), source }
            }
            Kind::Quoted | Kind::RawQuoted => match self.text_of(token)? {
                Some(value) => OperandKind::Text { value, source },
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    /// Returns the text a token stands for, if it is a text in quotes.
    pub(super) fn text_of(&self, token: &Token<'_>) -> Parsed<Option<String>> {
        match token.kind {
            Kind::RawQuoted => Ok(Some(token.text.trim_matches('`').replace('\r', ""))),
            Kind::Quoted => number::unquote(&token.text)
                .map(Some)
                .ok_or_else(|| self.error_at(token.at, "invalid syntax")),
            _ => Ok(None),
        }
    }
}
