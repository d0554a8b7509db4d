//! `tally`: see [`tallystick_client`].

fn main() -> std::process::ExitCode {
    tallystick_client::cli::main()
}
