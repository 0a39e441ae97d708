//! Instructions for each message, as valgrind counts them: the same on a busy machine as on an idle one.
//!
//! ```text
//! cargo bench --bench counts
//! ```
//!
//! The program runs itself under `valgrind --tool=callgrind` twice for each row, once with more turns; the difference is
//! what the turns cost, without the start of the program.

mod wire;

use std::{hint::black_box, process::Command};

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};
use wireline::proto::{Frame, FrameCodec, Opcode};

use crate::wire::{Then, broadcasts, callbacks, compressed_json, fragments, messages, open, open_deflate, texts, turn};

const RUN: &str = "--run";
const FEW: u64 = 50;
const MANY: u64 = 550;

/// A name, how it goes once, and how many messages that are.
type Row = (&'static str, fn() -> Box<dyn FnMut()>, u64);

const ROWS: &[Row] = &[
    ("decode 20", || decode(20), 64),
    ("decode 1024", || decode(1024), 64),
    ("encode 20", || encode(20), 1),
    ("encode 1024", || encode(1024), 1),
    ("echo 20", || pass(messages(20, 64), Then::Echo), 64),
    ("echo text of 20", || pass(texts(20, 64), Then::Echo), 64),
    ("echo one of 20", || pass(messages(20, 1), Then::Echo), 1),
    ("echo 1024", || pass(messages(1024, 16), Then::Echo), 16),
    ("assemble 8 fragments of 512", || pass(fragments(8), Then::Drop), 1),
    ("echo 8 fragments of 512", || pass(fragments(8), Then::Echo), 1),
    ("handler, echo 20", || Box::new(callbacks(messages(20, 64))), 64),
    ("handler, echo text of 20", || Box::new(callbacks(texts(20, 64))), 64),
    ("handler, echo 1024", || Box::new(callbacks(messages(1024, 16))), 16),
    ("handler, echo one of 20", || Box::new(callbacks(messages(20, 1))), 1),
    ("handler, echo 8 fragments of 512", || Box::new(callbacks(fragments(8))), 1),
    ("handler, broadcast 128 to 100", || Box::new(broadcasts(messages(128, 1), 99)), 100),
    ("handler, 16 broadcasts to 100", || Box::new(broadcasts(messages(128, 16), 99)), 1600),
    ("echo deflated JSON of 1024", || deflate(1024), 1),
    ("echo deflated JSON of 8192", || deflate(8192), 1),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [run, row, turns] = arguments.as_slice()
        && run == RUN
    {
        let (_, start, _) = ROWS[row.parse::<usize>().expect("a row")];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _inside = runtime.enter();
        let mut once = start();
        return (0..turns.parse().expect("a number")).for_each(|_| once());
    }
    println!("instructions per message");
    for (row, (name, _, messages)) in ROWS.iter().enumerate() {
        let each = (instructions(row, MANY) - instructions(row, FEW)) / ((MANY - FEW) * messages);
        println!("{name:33} {each:7}");
    }
}

/// What callgrind counts of the whole program.
fn instructions(row: usize, turns: u64) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([RUN, &row.to_string(), &turns.to_string()])
        .output()
        .expect("valgrind is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).expect("callgrind's last words").1;
    collected.trim().parse().expect("a number")
}

fn decode(len: usize) -> Box<dyn FnMut()> {
    let (mut codec, batch) = (FrameCodec::server(), messages(len, 64));
    Box::new(move || {
        let mut bytes = BytesMut::from(&*batch);
        while let Some(frame) = codec.decode(&mut bytes).expect("valid frames") {
            black_box(frame);
        }
    })
}

fn encode(len: usize) -> Box<dyn FnMut()> {
    let (mut codec, frame) = (FrameCodec::server(), Frame::new(Opcode::Binary, vec![7; len]));
    let mut out = BytesMut::with_capacity(len + 14);
    Box::new(move || {
        out.clear();
        codec.encode(frame.clone(), &mut out).expect("a valid frame");
        black_box(&out);
    })
}

fn pass(batch: Vec<u8>, then: Then) -> Box<dyn FnMut()> {
    let mut ws = open(batch);
    Box::new(move || turn(&mut ws, then))
}

/// An echo of JSON, inflated and compressed again.
fn deflate(len: usize) -> Box<dyn FnMut()> {
    let mut ws = open_deflate(compressed_json(len));
    Box::new(move || turn(&mut ws, Then::Echo))
}
