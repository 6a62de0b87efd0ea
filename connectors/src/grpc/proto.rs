//! From the text of a proto file to its services, without protoc.
//!
//! - One file stands for itself: it may import the well-known types of `google/protobuf/` and nothing else, because nothing but
//!   the file is pinned with the definition.
//! - The compiler below is recursive, so a text that is nested too deep is refused before it sees it ([`DEPTH_MAX`]).
//! - A file of the package `google.protobuf` is refused: its messages would be taken for the well-known types, whose JSON has a
//!   form of its own.

use std::fmt::Write as _;
use std::path::Path;

use cpd_connector_api::{Class, Problem, Standard};
use prost_reflect::prost_types::method_options::IdempotencyLevel;
use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};

/// The deepest nesting of brackets: protoc's own limit for messages is 32.
pub const DEPTH_MAX: usize = 64;
/// The largest file. The largest public ones that stand for themselves have some 100 kB.
pub const BYTES_MAX: usize = 1024 * 1024;

/// The name of the file towards the compiler. Problems say the document's address instead.
const FILE: &str = "pinned.proto";
/// At most this many names are listed in a problem.
const NAMES_MAX: usize = 20;

/// A proto file that was read.
#[derive(Debug)]
pub struct Proto {
    pool: DescriptorPool,
    uri: String,
}

/// The one file, and the well-known ones.
struct Pinned {
    file: File,
    known: GoogleFileResolver,
}

impl FileResolver for Pinned {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == FILE { Ok(self.file.clone()) } else { self.known.open_file(name) }
    }
}

impl Proto {
    /// Compiles the text of the document at `uri`.
    ///
    /// # Errors
    /// A `configuration` problem that says what is wrong with it, and where.
    pub fn read(uri: &str, text: &str) -> Result<Self, Problem> {
        let refuse = |what: String| wrong(format!("read the proto file {uri}: {what}"));
        if text.len() > BYTES_MAX {
            return Err(refuse(format!("found {} bytes, expected at most {BYTES_MAX}", text.len())));
        }
        if let Some(line) = too_deep(text) {
            return Err(refuse(format!("found more than {DEPTH_MAX} brackets in each other (line {line})")));
        }
        let said = |e: protox::Error| refuse(explained(&e));
        let file = File::from_source(FILE, text).map_err(said)?;
        let known = GoogleFileResolver::new();
        let descriptor = file.file_descriptor_proto();
        if let Some(import) = descriptor.dependency.iter().find(|name| known.open_file(name).is_err()) {
            return Err(refuse(format!(
                "found an import of {import:?}, expected only well-known types (\"google/protobuf/timestamp.proto\" and so on): \
                 nothing but this file is pinned with the definition; put what it imports into it"
            )));
        }
        if descriptor.package() == "google.protobuf" {
            return Err(refuse("found the package google.protobuf, which is that of the well-known types".into()));
        }
        let mut compiler = Compiler::with_file_resolver(Pinned { file, known });
        compiler.open_file(FILE).map_err(said)?;
        Ok(Self { pool: compiler.descriptor_pool(), uri: uri.to_owned() })
    }

    /// The method of that name of the service of that name: in full (`pets.v1.Store`), or the end of it if only one fits.
    ///
    /// # Errors
    /// A `configuration` problem with the names that there are.
    pub fn method(&self, service: &str, method: &str) -> Result<MethodDescriptor, Problem> {
        let found = self.service(service)?;
        found.methods().find(|m| m.name() == method).ok_or_else(|| {
            let known = listed(found.methods().map(|m| m.name().to_owned()));
            wrong(format!(
                "find the method {method:?} of the service {} in {}: expected {known}",
                found.full_name(),
                self.uri
            ))
        })
    }

    fn service(&self, name: &str) -> Result<ServiceDescriptor, Problem> {
        let ends = |full: &str| full.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let mut fitting: Vec<_> = self.own_services().filter(|s| !name.is_empty() && ends(s.full_name())).collect();
        if let Some(exact) = fitting.iter().find(|s| s.full_name() == name) {
            return Ok(exact.clone());
        }
        match (fitting.pop(), fitting.len()) {
            (Some(one), 0) => Ok(one),
            (Some(_), _) => {
                let several = listed(self.own_services().map(|s| s.full_name().to_owned()).filter(|n| ends(n)));
                Err(wrong(format!(
                    "find the service {name:?} in {}: more than one ends so, expected {several}",
                    self.uri
                )))
            }
            (None, _) => {
                let known = listed(self.own_services().map(|s| s.full_name().to_owned()));
                Err(wrong(format!("find the service {name:?} in {}: expected {known}", self.uri)))
            }
        }
    }

    fn own_services(&self) -> impl Iterator<Item = ServiceDescriptor> + '_ {
        self.pool.services().filter(|s| s.parent_file().name() == FILE)
    }
}

/// How a method may be repeated, by its option `idempotency_level`.
pub fn class(method: &MethodDescriptor) -> Class {
    let options = method.method_descriptor_proto().options.as_ref();
    match options.map_or(IdempotencyLevel::IdempotencyUnknown, |o| o.idempotency_level()) {
        IdempotencyLevel::NoSideEffects => Class::Safe,
        IdempotencyLevel::Idempotent => Class::Idempotent,
        IdempotencyLevel::IdempotencyUnknown => Class::AtMostOnce,
    }
}

/// A `configuration` problem.
fn wrong(what: String) -> Problem {
    Problem::standard(Standard::Configuration, what)
}

/// What the compiler says, with its position and without the name that only we gave the file.
fn explained(e: &protox::Error) -> String {
    let text = format!("{e:?}");
    let own = format!("{FILE}:");
    match text.strip_prefix(&own) {
        Some(rest) => format!("line {}", rest.trim_start()),
        None => text.replace(&own, "line "),
    }
}

/// Names for a problem, at most so many.
fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort();
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    match (names.is_empty(), more) {
        (true, _) => "one, but there is none in it".into(),
        (false, 0) => names.join(", "),
        (false, _) => {
            let mut text = names.join(", ");
            let _ = write!(text, " or one of {more} others");
            text
        }
    }
}

/// The line in which brackets are nested too deep, if there is one. Texts and comments are passed over.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut line) = (0_usize, 1);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => line += 1,
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            b'"' | b'\'' => {
                // A text ends in its line; what does not is the compiler's to refuse.
                while let Some(inner) = bytes.next_if(|b| *b != b'\n') {
                    match inner {
                        b'\\' => drop(bytes.next_if(|b| *b != b'\n')),
                        end if end == byte => break,
                        _ => {}
                    }
                }
            }
            b'/' if bytes.peek() == Some(&b'/') => while bytes.next_if(|b| *b != b'\n').is_some() {},
            b'/' if bytes.peek() == Some(&b'*') => {
                bytes.next();
                let mut last = 0;
                for inner in bytes.by_ref() {
                    line += usize::from(inner == b'\n');
                    if last == b'*' && inner == b'/' {
                        break;
                    }
                    last = inner;
                }
            }
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Some(line);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORE: &str = r#"
        syntax = "proto3";
        package pets.v1;
        import "google/protobuf/timestamp.proto";
        message Pet { string name = 1; google.protobuf.Timestamp born = 2; }
        service Store {
          rpc Get(Pet) returns (Pet) { option idempotency_level = NO_SIDE_EFFECTS; }
          rpc Put(Pet) returns (Pet) { option idempotency_level = IDEMPOTENT; }
          rpc Add(Pet) returns (Pet);
        }
        service OldStore { rpc Get(Pet) returns (Pet); }
    "#;

    fn refusal(text: &str) -> String {
        Proto::read("pets.proto", text).unwrap_err().to_string()
    }

    #[test]
    fn methods_are_found_by_full_and_by_short_names_and_have_the_class_of_their_option() {
        let proto = Proto::read("pets.proto", STORE).unwrap();
        for service in ["pets.v1.Store", "v1.Store", "Store"] {
            let method = proto.method(service, "Get").unwrap();
            assert_eq!(method.full_name(), "pets.v1.Store.Get", "{service}");
        }
        let class = |name| class(&proto.method("Store", name).unwrap());
        assert_eq!((class("Get"), class("Put"), class("Add")), (Class::Safe, Class::Idempotent, Class::AtMostOnce));
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_there_are() {
        let proto = Proto::read("pets.proto", STORE).unwrap();
        for (service, method, said) in [
            ("Shop", "Get", "expected pets.v1.OldStore, pets.v1.Store"),
            ("tore", "Get", "expected pets.v1.OldStore, pets.v1.Store"),
            ("", "Get", "expected pets.v1.OldStore, pets.v1.Store"),
            ("Store", "Buy", "of the service pets.v1.Store in pets.proto: expected Add, Get, Put"),
        ] {
            let found = proto.method(service, method).unwrap_err().to_string();
            assert!(found.contains(said), "{found}");
        }
        let none = Proto::read("pets.proto", "syntax = \"proto3\";").unwrap();
        assert!(none.method("Store", "Get").unwrap_err().to_string().contains("there is none in it"));
    }

    #[test]
    fn a_file_that_is_none_is_refused_with_the_line() {
        for (text, said) in [
            ("openapi: 3.1.0\n", "line 1:1: "),
            ("syntax = \"proto3\";\nmessage A {\n  string a = 1\n}", "line 4:1: "),
            ("syntax = \"proto3\";\nmessage A { Missing a = 1; }", "line 2:"),
            ("edition = \"2023\";\nmessage A {}", "line 1:1: "),
            (
                "syntax = \"proto3\";\nimport \"google/api/annotations.proto\";",
                "an import of \"google/api/annotations.proto\"",
            ),
            ("syntax = \"proto3\";\nimport \"pinned.proto\";", "an import of \"pinned.proto\""),
            ("syntax = \"proto3\";\npackage google.protobuf;\nmessage Any {}", "the package google.protobuf"),
        ] {
            let found = refusal(text);
            assert!(found.contains("read the proto file pets.proto") && found.contains(said), "{text:?}: {found}");
        }
    }

    #[test]
    fn bombs_of_brackets_are_refused_before_the_compiler_sees_them() {
        for (open, close) in [("message A {", "}"), ("option (a) = { b: [", "]}"), ("option (a) = < b: <", ">>")] {
            let text = format!("syntax = \"proto3\";\n/* {{ */ // \"\n{}{}", open.repeat(20_000), close.repeat(20_000));
            let found = refusal(&text);
            assert!(found.contains("more than 64 brackets in each other (line 3)"), "{found}");
        }
        let quoted = "\"{[(<\\\"{\"".repeat(100);
        assert_eq!(too_deep(&format!("option a = {quoted}; // {{{{\n")), None);
        assert!(refusal(&"//".repeat(BYTES_MAX)).contains("expected at most"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            words in prop::collection::vec(prop::sample::select(vec![
                "syntax", "=", "\"proto3\"", "\"proto2\"", ";", "message", "A", "{", "}", "string", "a", "1", "service", "rpc",
                "(", ")", "returns", "stream", "option", "idempotency_level", "IDEMPOTENT", "enum", "oneof", "map", "<", ">", ",",
                "repeated", "import", "\"google/protobuf/any.proto\"", "extend", "google.protobuf.MethodOptions", "[", "]", "//",
                "/*", "*/", "'", "\u{e9}", "reserved", "to", "max", "group", "edition", "-", "0x", "1e999", "package",
            ]), 0..40),
        ) {
            let _ = Proto::read("x", &words.join(" "));
            let _ = Proto::read("x", &format!("syntax = \"proto3\"; message A {{ {} }}", words.join(" ")));
        }
    }
}
