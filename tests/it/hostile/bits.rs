//! Hostile input, table 2.2: opcodes, reserved bits, masks.

use wireline::{
    Role,
    proto::Violation::{Masked, ReservedBit, ReservedOpcode, Unmasked},
};

use crate::support::{
    row::{self, Row, Want},
    suite::Suite,
};

pub(crate) static BITS: Suite = Suite::new(|ran| {
    row::run(&rows(), ran);
    for id in ["F-02", "F-03", "F-04"] {
        ran.id(id);
    }
});

#[test]
fn bits() {
    BITS.ids();
}

fn rows() -> Vec<Row> {
    let opcodes = (0x3..=0x7).chain(0xB..=0xF);
    let lengths = ["", "00", "7D", "7E FF FF", "7F 00 00 00 00 7F FF FF FF"];
    let mut rows: Vec<Row> = opcodes
        .flat_map(|opcode: u8| lengths.map(|length| (opcode, length)))
        .map(|(opcode, length)| {
            Row::new("B1", "CVE-2026-19204 (Jetty); Autobahn 4.x", &format!("{:02X} {length}", 0x80 | opcode))
                .fails(1, ReservedOpcode(opcode))
        })
        .collect();
    rows.extend(
        ["A1 00", "91 00", "B1 00", "A2 00", "90 00", "A8 00", "99 00", "AA 00"]
            .map(|frame| Row::new("B2", "Autobahn 3.x", frame).fails(1, ReservedBit)),
    );
    rows.extend([
        Row::new("B3", "CVE-2026-59881 (aiohttp)", "C1 01 61").fails(1, ReservedBit),
        Row::literal("B6", "facil.io #169", &[Role::Server], "81 01 61").fails(2, Unmasked),
        Row::literal("B6", "facil.io #169, a control frame", &[Role::Server], "89 00").fails(2, Unmasked),
        Row::literal("B7", "RFC 6455 5.1", &[Role::Client], "81 81 00 00 00 00 61").fails(2, Masked),
        Row::literal("B7", "RFC 6455 5.1, a control frame", &[Role::Client], "88 80 00 00 00 00").fails(2, Masked),
        Row::literal("B9", "CVE-2022-39386 (@fastify/websocket)", &[Role::Server], "A2 00").fails(1, ReservedBit),
    ]);
    // The message is delivered, and its echo goes out before Close 1002.
    rows.extend(["A1 00", "91 00", "B1 00", "83 00", "8B 00", "80 01 61", "09 00"].map(|bad| {
        let fault = match bad {
            "83 00" => ReservedOpcode(3),
            "8B 00" => ReservedOpcode(11),
            "80 01 61" => wireline::proto::Violation::UnexpectedContinuation,
            "09 00" => wireline::proto::Violation::FragmentedControl,
            _ => ReservedBit,
        };
        Row::new("B8", "Autobahn 3.2-3.4, 4.1.3-5, 4.2.3-5, 5.15", &format!("81 02 68 69 ; {bad}"))
            .delivers([Want::text("hi")])
            .fails(1, fault)
    }));
    rows
}
