//! The rules of ARCHITECTURE.md that source text can break, and that ARCHITECTURE.md itself is true.
//!
//! Each rule is a table; `every_rule_finds_what_breaks_it` feeds each of them a source that it must refuse.

mod document;
mod names;
mod source;

use std::{collections::BTreeSet, path::PathBuf};

use names::{Names, is_within};
use source::Source;

/// Which module may use which, the innermost first. A module may always use itself and what is below it; a row of `proto`
/// stands for every row below it. `lib.rs` re-exports and is not judged.
const MAY_USE: &[(&str, &[&str])] = &[
    ("proto::role", &[]),
    ("proto::limits", &[]),
    ("proto::timings", &[]),
    // A rule names the frame's close code, a frame the rule that it breaks.
    ("proto::error", &["proto::frame"]),
    ("proto::frame", &["proto::error"]),
    ("proto::message", &["proto::error", "proto::frame"]),
    ("proto::codec", &["proto::role", "proto::limits", "proto::error", "proto::frame"]),
    ("proto::deflate", &["proto::error"]),
    ("proto::handshake", &["proto::limits", "proto::error", "proto::deflate"]),
    ("proto::forwarded", &["proto::error"]),
    ("proto::proxy", &[]),
    (
        "proto::connection",
        &[
            "proto::role",
            "proto::limits",
            "proto::timings",
            "proto::error",
            "proto::frame",
            "proto::codec",
            "proto::message",
            "proto::deflate",
        ],
    ),
    (FACADE, &["proto"]),
    ("config", &["proto"]),
    ("error", &["proto"]),
    ("transport", &[]),
    ("metrics", &["proto", "error"]),
    ("logging", &["proto", "error"]),
    // A server lends out connections over its own transport.
    ("websocket", &["proto", "config", "error", "transport", "metrics", "logging"]),
    ("tls", &["proto::error", "error", "transport"]),
    // It accepts by the same rules as `Server`.
    ("handler", &["proto", "config", "error", "transport", "tls", "metrics", "logging", "websocket", "server"]),
    ("client", &["proto", "config", "error", "transport", "tls", "websocket"]),
    ("server", &["proto", "config", "error", "transport", "tls", "metrics", "logging", "websocket"]),
    // It accepts by the same rules, what another server has read.
    ("upgrade", &["proto", "config", "error", "metrics", "logging", "websocket", "server"]),
];

/// `proto/mod.rs`: its row is for that file alone, so that a new module below it needs a row of its own.
const FACADE: &str = "proto";

/// All that `proto` may name from outside the crate: nothing that does I/O, waits, draws or logs.
const PROTO_MAY_NAME: &[&str] = &[
    "base64",
    "bytes",
    "http",
    "httparse",
    "ipnet",
    "sha1",
    "simdutf8",
    "tokio_util::codec",
    "zlib_rs",
    "std::borrow",
    "std::cell",
    "std::cmp",
    "std::collections",
    "std::error",
    "std::fmt",
    "std::hash",
    "std::io",
    "std::iter",
    "std::mem",
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
    "std::ops",
    "std::result",
    "std::str",
    "std::time",
];

/// What only these files may name.
struct Only {
    what: &'static str,
    names: &'static [&'static str],
    files: &'static [&'static str],
}

const ONLY: &[Only] = &[
    Only {
        what: "the clock",
        names: &["Instant::now", ".elapsed", "SystemTime", "UNIX_EPOCH"],
        files: &["websocket/clock.rs"],
    },
    Only {
        what: "timers",
        names: &["tokio::time"],
        files: &["websocket/clock.rs", "websocket/open.rs", "server/drain.rs", "server/listen.rs"],
    },
    Only { what: "randomness", names: &["rand::", "getrandom"], files: &["websocket/random.rs"] },
    Only {
        what: "tasks and threads",
        names: &["spawn", "spawn_local", "spawn_blocking", "JoinSet", "std::thread::"],
        files: &[
            "websocket/lease.rs",
            "handler/interrupt.rs",
            "handler/owner.rs",
            "server/listen.rs",
            "upgrade/axum.rs",
            "upgrade/hyper.rs",
        ],
    },
    Only {
        what: "sockets",
        names: &["tokio::net", "std::net::TcpStream", "std::net::TcpListener", "std::net::UdpSocket", "std::os"],
        files: &[
            "client/mod.rs",
            "handler/accepting.rs",
            "handler/dialing.rs",
            "handler/opening.rs",
            "handler/owner.rs",
            "handler/util.rs",
            "handler/websocket.rs",
            "server/listen.rs",
            "server/listener.rs",
            "tls/absent.rs",
            "tls/session.rs",
            "transport.rs",
        ],
    },
    Only {
        what: "files and environment",
        names: &["std::fs", "std::env", "std::process", "tokio::fs"],
        files: &["server/listener.rs"],
    },
    Only { what: "unsafe code", names: &["unsafe", "unsafe_code"], files: &["proto/message/utf8.rs"] },
];

/// A longer file says in its module documentation why, in a sentence with these words.
const LONGEST: usize = 600;
const REASON: &str = "This file is long because";

/// What a feature may add: whole items, never a variant, a field or a statement.
const FEATURES_ADD: &[&str] = &["mod", "use", "impl", "fn"];

#[test]
fn src_keeps_to_the_architecture() {
    let sources = Source::read(&root().join("src"));
    let names = Names::of(&sources);
    let found: Vec<String> = sources.iter().flat_map(|source| complaints(source, &names)).collect();
    assert_eq!(found, Vec::<String>::new());
    for name in MAY_USE.iter().flat_map(|(module, uses)| uses.iter().chain([module])) {
        assert!(names.modules.contains(*name), "MAY_USE names {name}, which does not exist");
    }
}

/// Beside `src`, only the counting allocator of the tests needs `unsafe`.
#[test]
fn tests_benches_and_agents_have_one_file_with_unsafe_code() {
    for (directory, allowed) in
        [("tests/it", &["support/alloc.rs"][..]), ("benches", &[]), ("examples", &[]), ("autobahn/src", &[])]
    {
        for source in Source::read(&root().join(directory)) {
            let has = source.names("unsafe");
            assert!(!has || allowed.contains(&&*source.file), "{directory}/{} has unsafe code", source.file);
        }
    }
}

#[test]
fn every_rule_finds_what_breaks_it() {
    // file (a new one, or an addition to one that is there), what is added, what is complained of
    let table: &[(&str, &str, &str)] = &[
        ("proto/frame/mask.rs", "use crate::proto::handshake::Key;", "uses proto::handshake"),
        ("proto/frame/mask.rs", "use crate::proto::{Frame, handshake::{self, Key as _}};", "uses proto::handshake"),
        ("proto/frame/mask.rs", "use super::super::Limits;", "uses proto::limits"),
        ("proto/message/mod.rs", "use crate::proto::FrameCodec as Codec;", "uses proto::codec"),
        ("proto/deflate/params.rs", "use crate::proto::handshake::Extension;", "uses proto::handshake"),
        ("proto/codec/mod.rs", "fn f() -> crate::proto::connection::Ending { g() }", "uses proto::connection"),
        ("proto/codec/encoder.rs", "fn f() { super::super::connection::g() }", "uses proto::connection"),
        ("proto/mod.rs", "pub use crate::websocket::WebSocket;", "uses websocket"),
        ("proto/mod.rs", "pub use crate::WebSocket;", "uses websocket"),
        ("proto/role.rs", "use crate::Error;", "uses error"),
        ("proto/role.rs", "use crate::*;", "no module of the table"),
        ("proto/role.rs", "use crate as wireline;", "no module of the table"),
        ("proto/liveness/mod.rs", "", "no row in MAY_USE"),
        ("transport.rs", "use crate::tls::TlsAcceptor;", "uses tls"),
        ("websocket/drive.rs", "use crate::{client::Client, proto::Role};", "uses client"),
        ("websocket/drive.rs", "use crate::connect;", "uses client"),
        ("websocket/drive.rs", "fn f() { crate::server::accept(x) }", "uses server"),
        ("client/mod.rs", "use crate::server::Acceptor;", "uses server"),
        ("websocket/frames.rs", "use crate::handler::Frame;", "uses handler"),
        ("handler/dialing.rs", "use crate::client::connect;", "uses client"),
        ("handler/run.rs", "use tokio::net::TcpStream;", "sockets"),
        ("proto/connection/timers.rs", "use tokio::io::AsyncRead;", "names tokio::io"),
        ("proto/connection/timers.rs", "use tokio::{net::TcpStream, sync::mpsc};", "names tokio::net"),
        ("proto/connection/timers.rs", "async fn f() { tokio::time::sleep(x).await }", "names tokio::time"),
        ("proto/connection/timers.rs", "fn f() { ::tokio::spawn(x); }", "names tokio::spawn"),
        ("proto/codec/mod.rs", "use tokio_util::io::poll_read_buf;", "names tokio_util::io"),
        ("proto/codec/mod.rs", "fn f() { std::net::TcpStream::connect(x); }", "names std::net"),
        ("proto/role.rs", "use std::{fmt, fs::File};", "names std::fs"),
        ("proto/role.rs", "fn f() -> u8 { rand::random() }", "names rand::random"),
        ("proto/role.rs", "fn f() { tracing::debug!(x); tracing::field::display(x); }", "names tracing"),
        ("proto/connection/timers.rs", "fn f() -> Instant { Instant::now() }", "the clock"),
        ("proto/connection/timers.rs", "fn f(i: Instant) -> Duration { i . elapsed() }", "the clock"),
        ("websocket/drive.rs", "fn f() { std::time::SystemTime::now(); }", "the clock"),
        ("websocket/drive.rs", "use tokio::{io::AsyncRead, time::{self, timeout}};", "timers"),
        ("websocket/drive.rs", "use rand::{Rng as _, rng};", "randomness"),
        ("websocket/drive.rs", "fn f() { let key = rand::random(); }", "randomness"),
        ("websocket/drive.rs", "fn f() { Handle::current().spawn(x); }", "tasks and threads"),
        ("client/mod.rs", "use std::thread::Builder;", "tasks and threads"),
        ("websocket/drive.rs", "use tokio::net::TcpStream;", "sockets"),
        ("config.rs", "fn f() { std::env::var(x); }", "files and environment"),
        ("proto/message/mod.rs", "fn f() { unsafe { g() } }", "unsafe code"),
        ("websocket/read.rs", "#[allow(unsafe_code)] mod x {}", "unsafe code"),
        ("error.rs", "enum E { #[cfg(feature = \"tls\")] Tls }", "feature"),
        ("error.rs", "fn f() { if cfg!(feature = \"tls\") {} }", "feature"),
        ("error.rs", "fn f() { #[cfg(all(unix, feature = \"tls\"))] let x = 1; }", "feature"),
        ("client/mod.rs", "/// Docs.\npub async fn f() -> u8 {\n}", "Cancel safety"),
        (
            "client/mod.rs",
            "/// Docs.\npub fn f(\n    a: u8,\n) -> impl Future<Output = u8>\nwhere\n{\n}",
            "Cancel safety",
        ),
        ("role.rs", "//! Docs.\n", "no row in MAY_USE"),
    ];
    let sources = Source::read(&root().join("src"));
    for &(file, addition, complaint) in table {
        let found = complaints_with(&sources, file, addition);
        let expected = found.iter().any(|found| found.contains(complaint));
        assert!(expected, "{file} with {addition:?}: expected a complaint of {complaint:?} and not {found:?}");
    }

    let long = "\n".repeat(LONGEST);
    let found = complaints_with(&sources, "server/origin.rs", &long);
    assert!(matches!(&*found, [long] if long.contains(REASON)), "a long file: {found:?}");
}

#[test]
fn no_rule_finds_what_breaks_none() {
    let table: &[(&str, &str)] = &[
        ("proto/role.rs", "/// See [`WebSocket`](crate::WebSocket). // use crate::client;\nstruct S;"),
        ("proto/role.rs", "/* /* use crate::client; */ unsafe */ struct S<'a>(&'a str);"),
        ("proto/role.rs", "const S: &str = \"use crate::client; \\\" unsafe { }\"; const C: char = '\"';"),
        ("proto/role.rs", "const S: &str = r#\"use \"crate::client\"; unsafe\"#; const Q: char = '\\'';"),
        ("proto/role.rs", "#[cfg(test)] mod tests { use crate::{Client, client::{x, y}}; fn f() { unsafe {} } }"),
        ("proto/role.rs", "#[cfg(test)] pub(crate) use crate::client::{Target, Scheme}; struct S;"),
        ("proto/role.rs", "use std::{fmt::{self, Write as _}, time::Duration};"),
        ("proto/role.rs", "fn f() -> u64 { u64::from_be_bytes(x) + str::len(y) + fmt::Error::z() } use std::fmt;"),
        ("proto/connection/mod.rs", "use super::{codec::decoder::Sequence, Limits}; use closing::Cause as Why;"),
        ("websocket/drive.rs", "fn f<'a>() -> impl Sized + use<'a> {} struct SpawnOf; fn respawn() {}"),
        ("client/mod.rs", "#[cfg(feature = \"tls\")] #[expect(x)] pub(crate) mod x {} #[cfg(unix)] const X: u8 = 1;"),
        ("client/mod.rs", "/// # Cancel safety\n///\n/// Is.\n#[must_use]\npub async fn f() -> u8 {\n}"),
        ("client/mod.rs", "/// Docs.\npub fn f(&self) -> u8 {\n    impl Future\n}\npub(crate) async fn g() {\n}"),
    ];
    let sources = Source::read(&root().join("src"));
    for &(file, addition) in table {
        let found = complaints_with(&sources, file, addition);
        assert!(found.is_empty(), "{file} with {addition:?}: {found:?}");
    }

    let reason = format!("//! {REASON} its table is one.\n{}", "\n".repeat(LONGEST));
    assert_eq!(complaints_with(&sources, "server/origin/table.rs", &reason), Vec::<String>::new());
}

/// What is wrong with a file, which may be a new one, once something is added to it.
fn complaints_with(sources: &[Source], file: &str, addition: &str) -> Vec<String> {
    let mut sources = sources.to_vec();
    let found = sources.iter().position(|source| source.file == file);
    let text = found.map(|at| sources.swap_remove(at).text).unwrap_or_default();
    let source = Source::new(file, format!("{text}\n{addition}\n"));
    sources.push(source.clone());
    complaints(&source, &Names::of(&sources))
}

fn complaints(source: &Source, names: &Names) -> Vec<String> {
    let found = [
        dependencies(source, names),
        strangers(source, names),
        confined(source),
        length(source).into_iter().collect(),
        features(source),
        cancel_safety(source),
    ];
    found.into_iter().flatten().map(|complaint| format!("src/{}: {complaint}", source.file)).collect()
}

fn dependencies(source: &Source, names: &Names) -> Vec<String> {
    let module = source.module();
    if module.is_empty() {
        return Vec::new();
    }
    let Some((own, may_use)) = row(&module) else {
        return vec![format!("{module} has no row in MAY_USE")];
    };
    let imports = source.imports.iter().map(|(path, _)| path);
    let ours = imports.chain(&source.paths).filter_map(|path| names.ours(&module, path));
    let judged = ours.filter_map(|path| match row(&path) {
        None => Some(format!("uses {path:?}, which is no module of the table")),
        Some((used, _)) if used == own || may_use.iter().any(|allowed| is_within(used, allowed)) => None,
        Some((used, _)) => Some(format!("uses {used} ({path}), which {own} may not")),
    });
    judged.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The row of a module or of something in it.
fn row(path: &str) -> Option<(&'static str, &'static [&'static str])> {
    let is_row = |row: &str| path == row || (row != FACADE && is_within(path, row));
    MAY_USE.iter().copied().find(|(module, _)| is_row(module))
}

fn strangers(source: &Source, names: &Names) -> Vec<String> {
    let module = source.module();
    if !is_within(&module, FACADE) {
        return Vec::new();
    }
    let imported: BTreeSet<&str> = source.imports.iter().map(|(_, name)| &**name).collect();
    let is_foreign = |path: &&String| {
        let first = path.split("::").next().unwrap_or_default();
        first.starts_with(char::is_lowercase) && !imported.contains(first) && !PRIMITIVES.contains(&first)
    };
    let inline = source.paths.iter().filter(is_foreign);
    let outside = inline.chain(source.imports.iter().map(|(path, _)| path));
    let outside = outside.filter(|path| names.ours(&module, path).is_none());
    let forbidden = outside.filter(|path| !PROTO_MAY_NAME.iter().any(|allowed| is_within(path, allowed)));
    forbidden.map(|path| format!("names {path}, which proto may not")).collect()
}

const PRIMITIVES: &[&str] =
    &["bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "isize", "str", "u8", "u16", "u32", "u64", "usize"];

fn confined(source: &Source) -> Vec<String> {
    let elsewhere = ONLY.iter().filter(|only| !only.files.contains(&&*source.file));
    let named = elsewhere.flat_map(|only| only.names.iter().map(move |name| (only, name)));
    let found = named.filter(|(_, name)| source.names(name));
    found.map(|(only, name)| format!("{name} stands here, but {} only in {:?}", only.what, only.files)).collect()
}

fn length(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let says_why = source.text.lines().any(|line| line.starts_with("//!") && line.contains(REASON));
    (lines > LONGEST && !says_why).then(|| format!("{lines} lines; the module documentation says why: \"{REASON} …\""))
}

fn features(source: &Source) -> Vec<String> {
    let kept = source.kept_by_features().into_iter().filter(|item| !FEATURES_ADD.contains(item));
    kept.map(|item| format!("a feature decides about {item:?}, and may add only {FEATURES_ADD:?}")).collect()
}

fn cancel_safety(source: &Source) -> Vec<String> {
    let functions = source.public_functions().into_iter();
    let silent = functions.filter(|function| {
        (function.contains("pub async fn") || function.contains("-> impl Future"))
            && !function.contains("/// # Cancel safety")
    });
    silent.map(|function| format!("no `# Cancel safety` in the documentation of\n{function}")).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
