//! What context takeover costs and saves, at the level of the default settings.
//!
//! ```text
//! cargo bench --bench deflate
//! ```
//!
//! The compressor is zlib-rs's with the settings that wireline gives it. Memory is what it holds on the heap; the receiver
//! keeps as many bytes as the window has, once so many have come. Sizes are means over messages of different JSON records,
//! each as long as the row says, without the end of the flush. Times are a hint: the least of some rounds on this machine,
//! with the reset where there is no takeover.

use std::time::{Duration, Instant};

use wireline::proto::deflate::DeflateConfig;
use zlib_rs::{Deflate, DeflateConfig as Settings, DeflateFlush};

use crate::json::json;

#[expect(dead_code, reason = "the tests ask for more than what is held")]
#[path = "../tests/it/support/alloc.rs"]
mod alloc;

#[path = "wire/json.rs"]
mod json;

const WINDOWS: [u8; 5] = [15, 13, 12, 11, 9];
const MEMORY_LEVELS: [u8; 4] = [9, 8, 5, 1];
const MESSAGES: usize = 100;
const ROUNDS: usize = 20;
/// How a flush ends, which does not travel.
const FLUSHED: u64 = 4;

fn main() {
    memory();
    for len in [256, 1024, 8 * 1024] {
        messages(len);
    }
}

fn memory() {
    println!("memory of one compressor, KiB, and of the receiver's window");
    print!("window bits");
    for memory_level in MEMORY_LEVELS {
        print!("  memory level {memory_level}");
    }
    println!("  receiver");
    for window_bits in WINDOWS {
        print!("{window_bits:11}");
        for memory_level in MEMORY_LEVELS {
            let meter = alloc::Meter::start();
            let deflate = compressor(window_bits, memory_level);
            print!("{:16}", (meter.held() + 512) / 1024);
            drop(deflate);
        }
        println!("{:10}", f64::from(1_u32 << window_bits) / 1024.0);
    }
}

fn messages(len: usize) {
    let DeflateConfig { memory_level, .. } = DeflateConfig::default();
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|seed| json(len, seed)).collect();
    println!("\nJSON of {len} bytes, memory level {memory_level}: bytes (microseconds) per message");
    println!("window bits  without takeover  with takeover");
    for window_bits in WINDOWS {
        let [without, with] =
            [false, true].map(|keeps| measure(&messages, compressor(window_bits, memory_level), keeps));
        println!("{window_bits:11} {without:>17} {with:>14}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the wall's clock is what is wanted")]
fn measure(messages: &[Vec<u8>], mut deflate: Deflate, keeps: bool) -> String {
    let mut output = vec![0; 64 * 1024];
    let (mut bytes, mut least) = (0, Duration::MAX);
    for _ in 0..ROUNDS {
        deflate.reset();
        bytes = 0;
        let start = Instant::now();
        for message in messages {
            if !keeps {
                deflate.reset();
            }
            let before = deflate.total_out();
            deflate.compress(message, &mut output, DeflateFlush::SyncFlush).expect("room for the output");
            bytes += deflate.total_out() - before - FLUSHED;
        }
        least = least.min(start.elapsed());
    }
    let count = messages.len();
    format!("{} ({:.1})", bytes / count as u64, least.as_secs_f64() * 1e6 / count as f64)
}

fn compressor(window_bits: u8, memory_level: u8) -> Deflate {
    Deflate::new_with_config(Settings {
        level: DeflateConfig::default().level.into(),
        mem_level: memory_level.into(),
        window_bits: -i32::from(window_bits),
        ..Settings::default()
    })
}
