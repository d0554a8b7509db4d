//! `tallyd`: one agency's node.

use std::{alloc::System, process::ExitCode};

use zeroizing_alloc::ZeroAlloc;

/// The last line of defence for what libraries and growing buffers leave behind: all memory is wiped
/// when it is freed.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    tallystick_server::cli::main()
}
