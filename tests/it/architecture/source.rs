//! Rust source as tokens and paths: as much of the language as the rules of the architecture need, and no more.

use std::{collections::BTreeSet, fs, iter::Peekable, path::Path, str::Chars};

/// A file of Rust.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its path below the directory that was read, such as `proto/frame/mod.rs`.
    pub(super) file: String,
    pub(super) text: String,
    /// What its `use` declarations import: the path, and the name it gets here.
    pub(super) imports: Vec<(String, String)>,
    /// Paths outside of `use` declarations and attributes.
    pub(super) paths: BTreeSet<String>,
    /// All but comments, literals and what is compiled for unit tests only.
    tokens: Vec<String>,
}

impl Source {
    pub(super) fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let tokens = without_tests(tokens(&text));
        Self { file: file.into(), imports: imports(&tokens), paths: paths(&tokens), tokens, text }
    }

    /// All files of Rust below a directory.
    pub(super) fn read(directory: &Path) -> Vec<Self> {
        let mut found = Vec::new();
        read(directory, "", &mut found);
        found.sort_by(|one, other| one.file.cmp(&other.file));
        found
    }

    /// The path of its module, such as `proto::frame`; empty for `lib.rs`.
    pub(super) fn module(&self) -> String {
        let path = self.file.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").or_else(|| path.strip_suffix("lib")).unwrap_or(path);
        path.replace('/', "::")
    }

    /// Whether these tokens stand somewhere, one after the other, or these segments in an imported path.
    pub(super) fn names(&self, pattern: &str) -> bool {
        let pattern = tokens(pattern);
        let within = |all: &[String]| all.windows(pattern.len()).any(|window| window == pattern);
        within(&self.tokens) || self.imports.iter().any(|(path, _)| within(&tokens(path)))
    }

    /// The first keyword of each item that exists only with some feature.
    pub(super) fn kept_by_features(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for (at, _) in self.tokens.iter().enumerate().filter(|(_, token)| *token == "cfg") {
            let group = if self.token(at + 1) == "!" { at + 2 } else { at + 1 };
            let end = after_group(&self.tokens, group);
            if !self.tokens[group..end].iter().any(|token| token == "feature") {
                continue;
            }
            let mut at = if group == at + 1 { end + 1 } else { at };
            while self.token(at) == "#" {
                at = after_group(&self.tokens, at + 1);
            }
            if self.token(at) == "pub" {
                at += 1;
            }
            if self.token(at) == "(" {
                at = after_group(&self.tokens, at);
            }
            found.push(self.token(at));
        }
        found
    }

    /// The documentation, attributes and signature of each public function, one string each.
    pub(super) fn public_functions(&self) -> Vec<String> {
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        let starts =
            |line: &str| ["pub fn ", "pub async fn ", "pub const fn "].iter().any(|word| line.starts_with(word));
        let functions = (0..lines.len()).filter(|at| starts(lines[*at]));
        let whole = |at: usize| {
            let above = lines[..at].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with('#'));
            let below = lines[at..].iter().take_while(|line| !line.contains(" where") && **line != "{");
            let signature =
                below.clone().position(|line| line.ends_with('{')).map_or(below.clone().count(), |end| end + 1);
            let above: Vec<&str> = above.copied().collect();
            above.into_iter().rev().chain(below.take(signature).copied()).collect::<Vec<_>>().join("\n")
        };
        functions.map(whole).collect()
    }

    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", String::as_str)
    }
}

fn read(directory: &Path, prefix: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), found);
        } else if name.ends_with(".rs") {
            found.push(Source::new(name, fs::read_to_string(path).unwrap()));
        }
    }
}

fn imports(tokens: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| is_use(tokens, *at)) {
        tree(tokens, &mut (at + 1), "", &mut found);
    }
    found
}

/// A `use` declaration begins; `impl Trait + use<'a>` is none.
fn is_use(tokens: &[String], at: usize) -> bool {
    tokens[at] == "use" && tokens.get(at + 1).is_some_and(|next| next != "<")
}

fn paths(tokens: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_use(tokens, at) {
            at = position(tokens, at, ";");
        } else if tokens[at] == "#" {
            at = after_group(tokens, position(tokens, at, "["));
        } else if is_name(&tokens[at]) {
            let mut path = tokens[at].clone();
            let method = at > 0 && tokens[at - 1] == ".";
            while let [colons, name, ..] = &tokens[at + 1..]
                && colons == "::"
                && is_name(name)
            {
                path += &format!("::{name}");
                at += 2;
            }
            if path.contains("::") && !method {
                found.insert(path);
            }
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one tree of a `use` declaration: `a::{b, c as d, self, *}`.
fn tree(tokens: &[String], at: &mut usize, prefix: &str, found: &mut Vec<(String, String)>) {
    let mut path = prefix.to_owned();
    loop {
        match tokens.get(*at).map_or("", String::as_str) {
            "{" => {
                *at += 1;
                while tokens[*at] != "}" {
                    tree(tokens, at, &path, found);
                    if tokens[*at] == "," {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "::" => *at += 1,
            "self" if !path.is_empty() => *at += 1,
            name if is_name(name) && name != "as" => {
                path = if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") };
                *at += 1;
            }
            "*" => {
                *at += 1;
                found.push((path, "*".to_owned()));
                return;
            }
            _ => break,
        }
    }
    let mut name = path.rsplit("::").next().unwrap_or_default().to_owned();
    if tokens[*at] == "as" {
        name.clone_from(&tokens[*at + 1]);
        *at += 2;
    }
    found.push((path, name));
}

/// The names, `::`, and all else one character at a time, without comments and literals.
fn tokens(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '/' if rest.peek() == Some(&'/') => while rest.next().is_some_and(|next| next != '\n') {},
            '/' if rest.peek() == Some(&'*') => skip_comment(&mut rest),
            '"' => skip_string(&mut rest),
            '\'' => skip_character(&mut rest),
            ':' if rest.next_if_eq(&':').is_some() => found.push("::".to_owned()),
            _ if character.is_alphanumeric() || character == '_' => {
                let mut name = character.to_string();
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                    name.push(next);
                }
                let is_prefix = matches!(&*name, "r" | "br" | "cr");
                if is_prefix && matches!(rest.peek(), Some('"' | '#')) {
                    skip_raw_string(&mut rest);
                } else {
                    found.push(name);
                }
            }
            _ if character.is_whitespace() => {}
            _ => found.push(character.to_string()),
        }
    }
    found
}

fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    let mut depth = 0;
    let mut last = '/';
    for next in rest.by_ref() {
        match (last, next) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                last = next;
                continue;
            }
        }
        last = ' ';
        if depth == 0 {
            return;
        }
    }
}

fn skip_string(rest: &mut Peekable<Chars<'_>>) {
    while let Some(next) = rest.next() {
        match next {
            '\\' => drop(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn skip_raw_string(rest: &mut Peekable<Chars<'_>>) {
    let mut hashes = 0;
    while rest.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    // A raw name (`r#type`) has no quote.
    if rest.next_if_eq(&'"').is_none() {
        return;
    }
    while let Some(next) = rest.next() {
        if next == '"' && (0..hashes).all(|_| rest.next_if_eq(&'#').is_some()) {
            return;
        }
    }
}

/// A character or a lifetime: only the first has a second quote.
fn skip_character(rest: &mut Peekable<Chars<'_>>) {
    if rest.next() == Some('\\') {
        rest.next();
        while rest.next().is_some_and(|next| next != '\'') {}
    } else {
        rest.next_if_eq(&'\'');
    }
}

/// Cuts what `#[cfg(test)]` keeps out of the library.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut left = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().take(TEST.len()).eq(TEST.iter()) {
            at += TEST.len();
            while !matches!(&*tokens[at], ";" | "{") {
                at += 1;
            }
            // An import in braces ends behind them, at its semicolon.
            at = if tokens[at] == "{" { after_group(&tokens, at) } else { at + 1 };
            at += usize::from(tokens.get(at).is_some_and(|token| token == ";"));
        } else {
            left.push(tokens[at].clone());
            at += 1;
        }
    }
    left
}

/// Where what follows a group in brackets of any kind begins.
fn after_group(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match &**token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

fn position(tokens: &[String], from: usize, token: &str) -> usize {
    (from..tokens.len()).find(|at| tokens[*at] == token).unwrap_or(tokens.len())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}
