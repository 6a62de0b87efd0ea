//! How deep the evaluation of a Rego module can go, told from its tokens before the engine sees it.
//!
//! `regorus` reads and evaluates by recursion on the stack of its caller and counts only brackets. Three more things nest:
//! rules that refer to rules, functions that call functions (even themselves, for ever), and operators in a row, which
//! make a tree as deep as the row is long. An overflow cannot be caught, so what could overflow is refused.
//!
//! 1. The source becomes tokens, as the engine's own lexer makes them; texts and comments are skipped.
//! 2. Tokens are shared out to the rules that they stand in. A rule costs one more than its brackets nest.
//! 3. The cost of a rule and the dearest of those that it refers to, and so on, must stay below [`REACH_MAX`]. A function
//!    that calls itself grows without end and is found that way, too.
//!
//! It may count too much (a local variable with the name of a rule), never too little for a rule that is named plainly.

use std::collections::{BTreeMap, BTreeSet};

/// The deepest that brackets may nest in a rule. The engine's parser tries several readings of each `{` and `[`, so its
/// time grows with the power of their depth: 28 open braces took it more than 20 s.
const NESTING_MAX: usize = 10;
/// The longest way from a rule through those that it refers to, counted in rules and the brackets they are read through.
/// The engine took up to 40 kB of stack a rule in a build without optimisation; threads have 2 MB.
const REACH_MAX: usize = 32;
/// The most operators, dots and indexes in one expression.
const OPERATORS_MAX: usize = 64;

/// How many rules are looked at to name one that refers to itself; a module of 64 KiB has room for thousands.
const CIRCLES_MAX: usize = 100;

/// What is wrong with a module, and the way out.
pub(super) struct Excess {
    pub message: String,
    pub hint: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token<'a> {
    Name(&'a str),
    Text(&'a str),
    Number,
    Symbol(&'a str),
}

struct Placed<'a> {
    token: Token<'a>,
    /// Whether it is the first of its line.
    first: bool,
}

/// What the tokens of one name's rules add up to.
#[derive(Default)]
struct Rule<'a> {
    function: bool,
    cost: usize,
    mentions: BTreeSet<&'a str>,
    calls: BTreeSet<&'a str>,
}

impl<'a> Rule<'a> {
    /// The names that it refers to, if they are those of rules or functions.
    fn others<'r>(
        &'r self,
        own: &'r str,
        rules: &'r BTreeMap<&'a str, Rule<'a>>,
    ) -> impl Iterator<Item = &'a str> + 'r {
        let called = self.calls.iter().filter(|c| rules.contains_key(*c));
        // A rule that mentions itself is found by the engine; mostly it is a local variable of that name.
        let mentioned = self.mentions.iter().filter(move |m| **m != own && rules.get(*m).is_some_and(|r| !r.function));
        called.chain(mentioned).copied()
    }
}

/// Refuses a module that could take the engine deeper than its stack allows.
pub(super) fn check(source: &str) -> Result<(), Excess> {
    let tokens = tokens(source);
    let deep = nesting(&tokens);
    if deep > NESTING_MAX {
        return Err(Excess {
            message: format!("brackets in the Rego rule nest {deep} deep, expected at most {NESTING_MAX}"),
            hint: "give the inner parts names of their own",
        });
    }
    let row = operators(&tokens);
    if row > OPERATORS_MAX {
        return Err(Excess {
            message: format!("an expression of the Rego rule has {row} operators, expected at most {OPERATORS_MAX}"),
            hint: "give its parts names of their own, or use `sum`, `concat`, `union`",
        });
    }
    let replaced = tokens.windows(2).find_map(|pair| match (pair[0].token, pair[1].token) {
        (Token::Name("with"), Token::Name(name)) if name != "input" => Some(name),
        _ => None,
    });
    if let Some(name) = replaced {
        return Err(Excess {
            message: format!("the Rego rule replaces {name:?} by `with`, expected it to replace `input` at most"),
            hint: "what a decision rests on is its facts and parameters alone",
        });
    }
    let rules = rules(&tokens);
    let Some(name) = far(&rules) else { return Ok(()) };
    let behind = reached(&rules, name);
    let circle = behind.iter().take(CIRCLES_MAX).find(|name| reached(&rules, name).contains(*name));
    Err(match circle {
        Some(name) => Excess {
            message: format!("the Rego rule {name:?} refers to itself"),
            hint: "Rego has no recursion; use a comprehension or `every`",
        },
        None => Excess {
            message: format!(
                "the Rego rule {name:?} reaches through too many others, expected a way of at most {REACH_MAX} rules and \
                 brackets"
            ),
            hint: "shorten the chain of rules; a rule with few brackets may stand behind more others",
        },
    })
}

fn tokens(source: &str) -> Vec<Placed<'_>> {
    let bytes = source.as_bytes();
    let (mut at, mut first, mut tokens) = (0, true, Vec::new());
    let run = |from: usize, keep: fn(&u8) -> bool| from + bytes[from..].iter().take_while(|b| keep(b)).count();
    while let Some(byte) = bytes.get(at) {
        let token;
        let start = at;
        match byte {
            b'\n' => {
                (at, first) = (at + 1, true);
                continue;
            }
            b'#' => {
                at = run(at, |b| *b != b'\n');
                continue;
            }
            b'"' | b'`' => {
                at += 1;
                while let Some(inner) = bytes.get(at).filter(|inner| *inner != byte) {
                    at += if *inner == b'\\' && *byte == b'"' { 2 } else { 1 };
                }
                token = Token::Text(source.get(start + 1..at).unwrap_or_default());
                at += 1;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                at = run(at, |b| b.is_ascii_alphanumeric() || *b == b'_');
                token = Token::Name(&source[start..at]);
            }
            b'0'..=b'9' => {
                at = run(at, |b| b.is_ascii_alphanumeric() || *b == b'.');
                token = Token::Number;
            }
            b'!'..=b'~' => {
                let pair = matches!(byte, b':' | b'<' | b'>' | b'=' | b'!') && bytes.get(at + 1) == Some(&b'=');
                at += if pair { 2 } else { 1 };
                token = Token::Symbol(&source[start..at]);
            }
            // White space, and what the engine's lexer refuses.
            _ => {
                at += 1;
                continue;
            }
        }
        tokens.push(Placed { token, first });
        first = false;
    }
    tokens
}

/// How a token moves the depth of brackets: into (1), out of (-1), neither.
fn bracket(token: Token<'_>) -> i8 {
    match token {
        Token::Symbol("{" | "[" | "(") => 1,
        Token::Symbol("}" | "]" | ")") => -1,
        Token::Symbol(_) | Token::Name(_) | Token::Text(_) | Token::Number => 0,
    }
}

fn nesting(tokens: &[Placed<'_>]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for placed in tokens {
        depth = depth.saturating_add_signed(isize::from(bracket(placed.token)));
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether an expression may end with this token.
fn ends(token: Token<'_>) -> bool {
    match token {
        Token::Name(name) => !matches!(
            name,
            "default"
                | "if"
                | "contains"
                | "else"
                | "not"
                | "some"
                | "every"
                | "in"
                | "with"
                | "as"
                | "import"
                | "package"
        ),
        Token::Text(_) | Token::Number => true,
        Token::Symbol(symbol) => matches!(symbol, ")" | "]" | "}"),
    }
}

/// The longest row of operators, dots and indexes in one expression.
fn operators(tokens: &[Placed<'_>]) -> usize {
    let (mut rows, mut longest) = (vec![0usize], 0);
    let mut before = None;
    for placed in tokens {
        let row = rows.last_mut().expect("one row is never taken away");
        let operator = match placed.token {
            Token::Symbol(s) => {
                matches!(
                    s,
                    "+" | "-" | "*" | "/" | "%" | "&" | "|" | "<" | "<=" | "==" | ">=" | ">" | "!=" | "." | "[" | "("
                )
            }
            Token::Name("in") => true,
            Token::Name(_) | Token::Text(_) | Token::Number => false,
        };
        let anew = match placed.token {
            Token::Symbol("," | ";" | ":" | ":=" | "=") | Token::Name("if" | "contains" | "else" | "not" | "with") => {
                true
            }
            Token::Symbol(_) => false,
            Token::Name(_) | Token::Text(_) | Token::Number => placed.first && before.is_some_and(ends),
        };
        if anew {
            *row = 0;
        } else if operator {
            *row += 1;
            longest = longest.max(*row);
        }
        match bracket(placed.token) {
            1 => rows.push(0),
            -1 if rows.len() > 1 => drop(rows.pop()),
            _ => {}
        }
        before = Some(placed.token);
    }
    longest
}

/// Whether the name at `at`, outside of brackets, is the head of a rule; if so, whether it is that of a function.
fn head(tokens: &[Placed<'_>], at: usize) -> Option<bool> {
    let before = at.checked_sub(1).and_then(|i| tokens.get(i)).map(|p| p.token);
    if !before.is_none_or(|b| ends(b) || b == Token::Name("default")) {
        return None;
    }
    let next = |i: usize| tokens.get(i).map(|p| p.token);
    let function = next(at + 1) == Some(Token::Symbol("("));
    // Over the rest of the head: `.part`, `[key]`, `(arguments)`.
    let (mut i, mut depth) = (at + 1, 0i32);
    while let Some(token) = next(i) {
        let path = token == Token::Symbol(".") || next(i - 1) == Some(Token::Symbol("."));
        let opens = matches!(token, Token::Symbol("[" | "(")) && !tokens[i].first;
        if depth == 0 && !path && !opens {
            break;
        }
        depth += i32::from(bracket(token));
        i += 1;
    }
    let keyword = matches!(next(i), Some(Token::Symbol(":=" | "=" | "{") | Token::Name("if" | "contains")));
    // A head may stand alone: `f(1)` is a fact.
    let alone = tokens[at].first && tokens.get(i).is_none_or(|p| p.first);
    (keyword || alone).then_some(function)
}

/// The rules by name.
fn rules<'a>(tokens: &[Placed<'a>]) -> BTreeMap<&'a str, Rule<'a>> {
    let mut rules: BTreeMap<&str, Rule<'_>> = BTreeMap::new();
    let documents = documents(tokens);
    let (mut current, mut depth) = (None, 0usize);
    for (at, Placed { token, .. }) in tokens.iter().enumerate() {
        depth = depth.saturating_add_signed(isize::from(bracket(*token)));
        let begins = match token {
            Token::Name(name) if depth == 0 && ends(*token) => head(tokens, at).map(|function| (*name, function)),
            Token::Name(_) | Token::Text(_) | Token::Number | Token::Symbol(_) => None,
        };
        if let Some((name, function)) = begins {
            current = Some(name);
            rules.entry(name).or_default().function |= function;
            continue;
        }
        let Some(rule) = current.and_then(|name| rules.get_mut(name)) else { continue };
        rule.cost = rule.cost.max(depth);
        let called = tokens.get(at + 1).is_some_and(|p| p.token == Token::Symbol("("));
        match *token {
            Token::Name(name) if called => drop(rule.calls.insert(name)),
            Token::Name(name) => {
                let member = at > 0 && tokens[at - 1].token == Token::Symbol(".");
                // `input.drift` is no mention of the rule `drift`; `data.p.drift` is one.
                if !member || root(tokens, at).is_some_and(|r| documents.contains(r)) {
                    rule.mentions.insert(name);
                }
            }
            Token::Text(text) => {
                // `data.p["f"](1)`
                let after = (tokens.get(at + 1), tokens.get(at + 2));
                if let (
                    Some(Placed { token: Token::Symbol("]"), .. }),
                    Some(Placed { token: Token::Symbol("("), .. }),
                ) = after
                {
                    rule.calls.insert(text);
                }
            }
            Token::Number | Token::Symbol(_) => {}
        }
    }
    rules
}

/// The names under which a module reaches rules by a path: `data`, and what it imports from there.
fn documents<'a>(tokens: &[Placed<'a>]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::from(["data"]);
    for (at, _) in tokens.iter().enumerate().filter(|(_, p)| p.token == Token::Name("import")) {
        let line = tokens[at + 1..].iter().take_while(|p| !p.first).map(|p| p.token);
        let line: Vec<Token<'a>> = line.collect();
        if let (Some(Token::Name("data")), Some(Token::Name(last))) = (line.first(), line.last()) {
            names.insert(last);
        }
    }
    names
}

/// What the path in which the name at `at` is a member begins with.
fn root<'a>(tokens: &[Placed<'a>], at: usize) -> Option<&'a str> {
    let mut at = at;
    while at >= 2 && tokens[at - 1].token == Token::Symbol(".") {
        at -= 2;
    }
    match tokens[at].token {
        Token::Name(name) => Some(name),
        Token::Text(_) | Token::Number | Token::Symbol(_) => None,
    }
}

/// A rule from which the way is longer than allowed.
fn far<'a>(rules: &BTreeMap<&'a str, Rule<'a>>) -> Option<&'a str> {
    let own: BTreeMap<&str, usize> = rules.iter().map(|(name, rule)| (*name, 1 + rule.cost)).collect();
    let mut reach = own.clone();
    // Every round settles at least the rules whose way has one member more, or makes an endless one longer.
    for _ in 0..=REACH_MAX {
        let mut settled = true;
        for (name, rule) in rules {
            let behind = rule.others(name, rules).filter_map(|n| reach.get(n)).max().copied().unwrap_or(0);
            let whole = own[name] + behind;
            if whole > REACH_MAX {
                return Some(name);
            }
            settled &= reach.insert(name, whole) == Some(whole);
        }
        if settled {
            break;
        }
    }
    None
}

/// What a rule refers to, and what that refers to, and so on.
fn reached<'a>(rules: &BTreeMap<&'a str, Rule<'a>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = vec![from];
    while let Some(name) = open.pop() {
        let Some(rule) = rules.get(name) else { continue };
        for other in rule.others(name, rules) {
            if seen.insert(other) {
                open.push(other);
            }
        }
    }
    seen
}
