//! `tallyd`: one agency's node.

use std::process::ExitCode;

fn main() -> ExitCode {
    tallystick_server::cli::main()
}
