//! JSON as it is sent a million times.

/// A list of records of an exchange, filled up with spaces.
pub(crate) fn json(len: usize, seed: usize) -> Vec<u8> {
    const SYMBOLS: [&str; 8] = ["ACME", "BOLT", "CRUX", "DUNE", "ECHO", "FLUX", "GRIT", "HALO"];
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ (seed as u64 + 1).wrapping_mul(0xD134_2543_DE82_EF95);
    let mut number = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let mut text = String::from("[");
    loop {
        let symbol = SYMBOLS[usize::try_from(number(8)).unwrap_or_default()];
        let side = if number(2) == 0 { "buy" } else { "sell" };
        let (id, price, cents, size) = (100_000 + number(900_000), number(500), number(100), 1 + number(1000));
        let comma = if text.len() > 1 { "," } else { "" };
        let record = format!(
            r#"{comma}{{"id":{id},"symbol":"{symbol}","side":"{side}","price":{price}.{cents:02},"size":{size},"active":true}}"#
        );
        if text.len() + record.len() + 1 > len {
            break;
        }
        text += &record;
    }
    text += &" ".repeat(len - 1 - text.len());
    text.push(']');
    text.into_bytes()
}
