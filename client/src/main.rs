//! `tally`: see [`tallystick_client`].

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// The last line of defence for what libraries and growing buffers leave behind: all memory is wiped
/// when it is freed.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    tallystick_client::cli::main()
}
