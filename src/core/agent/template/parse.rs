//! Makes a tree of a template's tokens. Evaluates nothing.

mod operand;

use std::collections::BTreeMap;

use super::TemplateError;
use super::token::{Kind, Token, tokens};
use super::tree::{Branch, Item, Pipeline};

/// Deepest nesting of parentheses and of blocks.
const DEPTH_MAX: usize = 100;

/// Most tokens of one template.
const TOKENS_MAX: usize = 200_000;

/// A template and those it defines for itself.
#[derive(Debug, Default)]
pub(super) struct Template {
    pub(super) main: Vec<Item>,
    pub(super) named: BTreeMap<String, Vec<Item>>,
}

/// Parses a template; `payload` allows the functions that read payloads.
pub(super) fn parse(text: &str, payload: bool) -> Result<Template, TemplateError> {
    let tokens = tokens(text);
    let mut parser = Parser {
        text,
        tokens,
        next: 0,
        payload,
        variables: vec!["$".to_owned()],
        action_line: None,
        loops: 0,
        depth: 0,
        named: BTreeMap::new(),
    };
    if parser.tokens.len() > TOKENS_MAX {
        return Err(parser.error("template is too long"));
    }
    let main = parser.template()?;
    Ok(Template { main, named: parser.named })
}

/// What ended a list of items.
#[derive(PartialEq, Eq)]
enum Ending {
    End,
    Else,
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
    payload: bool,
    /// Variables in sight.
    variables: Vec<String>,
    /// Line on which the action under way began.
    action_line: Option<usize>,
    /// Number of loops around.
    loops: usize,
    depth: usize,
    named: BTreeMap<String, Vec<Item>>,
}

type Parsed<T> = Result<T, TemplateError>;

impl<'a> Parser<'a> {
    fn template(&mut self) -> Parsed<Vec<Item>> {
        let mut items = Vec::new();
        while self.peek().kind != Kind::Eof {
            if self.peek().kind == Kind::Open && self.keyword_at(1) == Some("define") {
                self.definition()?;
                continue;
            }
            match self.text_or_action()? {
                Ok(item) => items.extend(item),
                Err(Ending::End) => return Err(self.error("unexpected {{end}}")),
                Err(Ending::Else) => return Err(self.error("unexpected {{else}}")),
            }
        }
        Ok(items)
    }

    /// Returns a piece, if it leaves anything, or what ends the list.
    fn text_or_action(&mut self) -> Parsed<Result<Option<Item>, Ending>> {
        let token = self.take_solid();
        match token.kind {
            Kind::Text => Ok(Ok(Some(Item::Text(token.text.into_owned())))),
            Kind::Open => {
                self.action_line = Some(self.line(token.at));
                let item = self.action();
                self.action_line = None;
                item
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Parsed<Result<Option<Item>, Ending>> {
        let Some(word) = self.keyword_at(0).map(str::to_owned) else {
            let pipeline = self.pipeline("command", Kind::Close)?;
            return Ok(Ok(Some(Item::Print(pipeline))));
        };
        if word == "define" {
            let token = self.peek_solid();
            return Err(self.unexpected(&token, "command"));
        }
        self.take_solid();
        let item = match word.as_str() {
            "if" => Item::If(self.branch("if")?),
            "with" => Item::With(self.branch("with")?),
            "range" => Item::Range(self.branch("range")?),
            "break" => self.leave(Item::Break, "{{break}}")?,
            "continue" => self.leave(Item::Continue, "{{continue}}")?,
            "template" => self.call()?,
            "block" => self.block()?,
            "end" => {
                self.expect(Kind::Close, "end")?;
                return Ok(Err(Ending::End));
            }
            _ => {
                // What follows an `else` belongs to the branch before it.
                if !matches!(self.keyword_at(0), Some("if" | "with")) {
                    self.expect(Kind::Close, "else")?;
                }
                return Ok(Err(Ending::Else));
            }
        };
        Ok(Ok(Some(item)))
    }

    fn leave(&mut self, item: Item, what: &str) -> Parsed<Item> {
        self.expect(Kind::Close, what)?;
        if self.loops == 0 {
            return Err(self.error(&format!("{what} outside {{{{range}}}}")));
        }
        Ok(item)
    }

    fn branch(&mut self, word: &str) -> Parsed<Branch> {
        self.enter()?;
        let in_sight = self.variables.len();
        let pipeline = self.pipeline(word, Kind::Close)?;
        let is_loop = usize::from(word == "range");
        self.loops += is_loop;
        let (then, ending) = self.items()?;
        self.loops -= is_loop;
        let otherwise = match ending {
            Ending::End => Vec::new(),
            Ending::Else if self.keyword_at(0) == Some(word) && word != "range" => {
                // A branch of its own that shares the end with this one.
                self.take_solid();
                let branch = self.branch(word)?;
                vec![if word == "if" { Item::If(branch) } else { Item::With(branch) }]
            }
            Ending::Else => {
                let (otherwise, ending) = self.items()?;
                if ending == Ending::Else {
                    return Err(self.error("expected end; found {{else}}"));
                }
                otherwise
            }
        };
        self.variables.truncate(in_sight);
        self.depth -= 1;
        Ok(Branch { pipeline, then, otherwise })
    }

    /// Returns the pieces up to what ends them.
    fn items(&mut self) -> Parsed<(Vec<Item>, Ending)> {
        let mut items = Vec::new();
        while self.peek_solid().kind != Kind::Eof {
            match self.text_or_action()? {
                Ok(item) => items.extend(item),
                Err(ending) => return Ok((items, ending)),
            }
        }
        Err(self.error("unexpected EOF"))
    }

    fn call(&mut self) -> Parsed<Item> {
        let at = self.peek_solid().at;
        let name = self.name_of_template("template clause")?;
        let data = if self.peek_solid().kind == Kind::Close {
            self.take_solid();
            None
        } else {
            Some(self.pipeline("template clause", Kind::Close)?)
        };
        Ok(Item::Call { name, data, at })
    }

    /// Defines a template and carries it out where it stands.
    fn block(&mut self) -> Parsed<Item> {
        let at = self.peek_solid().at;
        let name = self.name_of_template("block clause")?;
        let data = self.pipeline("block clause", Kind::Close)?;
        self.body(name.clone())?;
        Ok(Item::Call { name, data: Some(data), at })
    }

    fn definition(&mut self) -> Parsed<()> {
        self.take_solid();
        self.take_solid();
        let name = self.name_of_template("define clause")?;
        self.expect(Kind::Close, "define clause")?;
        self.body(name)
    }

    /// Reads what a template of a name consists of. Like a template of its own it sees no variables but its data.
    fn body(&mut self, name: String) -> Parsed<()> {
        self.enter()?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (items, ending) = self.items()?;
        if ending == Ending::Else {
            return Err(self.error("unexpected {{else}} in define clause"));
        }
        self.variables = outer;
        self.loops = loops;
        self.depth -= 1;
        self.named.insert(name, items);
        Ok(())
    }

    fn name_of_template(&mut self, context: &str) -> Parsed<String> {
        let token = self.take_solid();
        self.text_of(&token)?.ok_or_else(|| self.unexpected(&token, context))
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipeline> {
        self.enter()?;
        let pipeline = self.pipeline_inside(context, end)?;
        self.depth -= 1;
        Ok(pipeline)
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error("template is nested too deeply"));
        }
        Ok(())
    }

    /// Returns the word of the language at a place after the next solid token, if there is one.
    fn keyword_at(&self, offset: usize) -> Option<&str> {
        let mut rest = self.tokens[self.next..].iter().filter(|token| token.kind != Kind::Space);
        let token = rest.nth(offset)?;
        (token.kind == Kind::Keyword).then_some(token.text.as_ref())
    }

    fn peek(&self) -> &Token<'a> {
        // The last token stays, so that there is always one.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn peek_solid(&mut self) -> Token<'a> {
        if self.peek().kind == Kind::Space {
            self.take();
        }
        self.peek().clone()
    }

    fn take_solid(&mut self) -> Token<'a> {
        self.peek_solid();
        self.take()
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<()> {
        let token = self.take_solid();
        if token.kind == kind { Ok(()) } else { Err(self.unexpected(&token, context)) }
    }

    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Makes an error at the last token taken.
    fn error(&self, problem: &str) -> TemplateError {
        let at = self.tokens[self.next.saturating_sub(1).min(self.tokens.len() - 1)].at;
        self.error_at(at, problem)
    }

    fn error_at(&self, at: usize, problem: &str) -> TemplateError {
        TemplateError(format!("template: expansion:{}: {problem}", self.line(at)))
    }

    fn unexpected(&self, token: &Token<'_>, context: &str) -> TemplateError {
        let text = &token.text;
        let named = match token.kind {
            Kind::Error => return self.broken(token),
            Kind::Eof => "EOF".to_owned(),
            Kind::Keyword | Kind::Dot | Kind::Nil => format!("<{text}>"),
            _ if text.chars().count() > 10 => {
                format!("{:?}...", text.chars().take(10).collect::<String>())
            }
            _ => format!("{text:?}"),
        };
        self.error_at(token.at, &format!("unexpected {named} in {context}"))
    }

    /// What could not be cut up; where it began elsewhere, that is told, too.
    fn broken(&self, token: &Token<'_>) -> TemplateError {
        let line = self.line(token.at);
        let extra = match self.action_line.filter(|begun| *begun != line) {
            Some(begun) if token.text.ends_with(" action") => {
                format!(" started at expansion:{begun}")
            }
            Some(begun) => format!(" in action started at expansion:{begun}"),
            None => String::new(),
        };
        self.error_at(token.at, &format!("{}{extra}", token.text))
    }
}
